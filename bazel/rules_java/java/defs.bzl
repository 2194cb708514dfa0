"""The names that Bazel's own JDK package loads from @rules_java, as the native rules they are."""

java_binary = native.java_binary
java_import = native.java_import
java_library = native.java_library
java_runtime = native.java_runtime
java_toolchain = native.java_toolchain
