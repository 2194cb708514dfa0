# SPDX-License-Identifier: Apache-2.0
"""Sources that come as a crate, pinned by bazel/crates/Cargo.lock."""

_CARGO_MIN = 70  # of 1.x: older ones read the registry's index with git

def _minor(version):
    parts = version.split(" ")
    numbers = parts[1].split(".") if len(parts) > 1 else []
    return int(numbers[1]) if len(numbers) > 1 and numbers[0] == "1" and numbers[1].isdigit() else 0

def _find_cargo(ctx):
    """The one that ./dev found in PATH, or that stands where it is usually installed: .bazelrc has made PATH a plain one."""
    named = ctx.os.environ.get("CARGO", "")
    if named:
        return named
    own = ctx.path(ctx.os.environ.get("HOME", "/nonexistent") + "/.cargo/bin/cargo")
    return own if own.exists else ctx.which("cargo")

def _pinned(locked, name):
    """The version of a crate in the text of a Cargo.lock."""
    entry = locked.partition('\nname = "%s"\nversion = "' % name)[2]
    return entry.partition('"')[0]

def fetch_crate(ctx, name, folder, instead):
    """Puts FOLDER of the crate NAME, a path inside of it, into src/ of the repository that is being made, and returns its version.

    It runs in a repository rule, and ends the build in words that name what is missing.

    Args:
      ctx: the repository rule's context
      name: a crate that bazel/crates/Cargo.toml names
      folder: what of it is kept
      instead: how the build does without the crate, as words for the one who reads the error
    """
    manifest = ctx.path(Label("//bazel/crates:Cargo.toml"))
    locked = ctx.read(Label("//bazel/crates:Cargo.lock"))  # another one is fetched anew
    cargo = _find_cargo(ctx)
    if not cargo:
        fail(("no cargo is in PATH to fetch the crate %s. Two ways are left: install one (Debian 12: " +
              "apt-get install cargo-web; Debian 13: apt-get install cargo), or %s") % (name, instead))
    version = ctx.execute([cargo, "--version"]).stdout.strip()
    if _minor(version) < _CARGO_MIN:
        fail(("%s is \"%s\"; 1.%d or later is needed to fetch the crate %s. Two ways are left: install one (Debian 12: " +
              "apt-get install cargo-web), or %s") % (cargo, version, _CARGO_MIN, name, instead))
    ctx.report_progress("fetching the crate " + name)
    done = ctx.execute([cargo, "vendor", "--locked", "--manifest-path", manifest, "vendor"], timeout = 900)
    if done.return_code != 0:
        fail(("cargo could not fetch the crate %s as bazel/crates/Cargo.lock pins it; nothing of it is used. cargo says:\n%s\n" +
              "Two ways are left: let cargo reach its registry (or a mirror that its configuration names) and get the " +
              "pinned crate from there, or %s") % (name, done.stderr.strip(), instead))
    moved = ctx.execute(["mv", "vendor/%s/%s" % (name, folder), "src"])
    if moved.return_code != 0:
        fail("the crate %s has no %s: %s" % (name, folder, moved.stderr.strip()))
    ctx.delete("vendor")
    return _pinned(locked, name)
