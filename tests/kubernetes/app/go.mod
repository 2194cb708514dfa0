module tabard.dev/tests/kubernetes/app

go 1.26.0
