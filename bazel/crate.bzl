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
    """The version and the checksum of a crate in the text of a Cargo.lock; both are "" where it names no such crate."""
    entry = locked.partition('\nname = "%s"\nversion = "' % name)[2].partition("\n\n")[0]
    return entry.partition('"')[0], entry.partition('\nchecksum = "')[2].partition('"')[0]

def _cached(ctx, crate):
    """What cargo keeps of a crate, from whichever registry: the checksum of each file, by its path."""
    home = ctx.os.environ.get("CARGO_HOME", "") or ctx.os.environ.get("HOME", "/nonexistent") + "/.cargo"
    said = ctx.execute(["sh", "-c", 'sha256sum "$1"/registry/cache/*/"$2"', "sh", home, crate]).stdout
    return {line.partition("  ")[2]: line.partition("  ")[0] for line in said.split("\n") if line}

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
    pinned, checksum = _pinned(locked, name)
    crate = "%s-%s.crate" % (name, pinned)
    done = ctx.execute([cargo, "fetch", "--locked", "--manifest-path", manifest], timeout = 900)
    cached = _cached(ctx, crate)
    others = [file for file, its in cached.items() if its != checksum]
    files = [file for file, its in cached.items() if its == checksum]

    # cargo compares a crate with Cargo.lock when it downloads it, and never again.
    held = "" if files or not others else "%s has not the checksum that is pinned, %s" % (others[0], checksum)
    if done.return_code == 0 and held:
        fail("%s; nothing of it is used. Two ways are left: remove that file, so that cargo fetches it anew, or %s" % (held, instead))
    if "--locked was passed" in done.stderr:
        fail(("bazel/crates/Cargo.lock doesn't pin the crate %s as bazel/crates/Cargo.toml names it; nothing of it is used: " +
              "./dev pin writes the one by the other, or put both back") % name)
    if "No space left on device" in done.stderr:
        fail("the disk is full, so the crate %s can't be fetched; nothing of it is used. cargo says:\n%s" % (name, done.stderr.strip()))
    if done.return_code != 0 or not files:
        said = done.stderr.strip() if done.return_code != 0 else "it has the crate, but not as a file " + crate
        said += "\n" + held if held else ""
        fail(("cargo could not fetch the crate %s as bazel/crates/Cargo.lock pins it; nothing of it is used. cargo says:\n%s\n" +
              "Two ways are left: let cargo reach its registry (or a mirror that its configuration names) and get the " +
              "pinned crate from there, or %s") % (name, said, instead))
    path = "%s-%s/%s" % (name, pinned, folder)
    unpacked = ctx.execute(["tar", "-xzf", files[0], "--no-same-owner", "--strip-components=1", path])
    if "Not found in archive" in unpacked.stderr:
        fail("the crate %s has no %s" % (name, folder))
    if unpacked.return_code != 0:
        fail("the crate %s could not be unpacked; nothing of it is used: %s" % (files[0], unpacked.stderr.strip()))
    ctx.execute(["mv", folder, "src"])
    return pinned
