"""The build's own scripts, and what they install."""

import ast
import collections
import importlib.metadata
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

from tests import reports
from tests.helpers import ROOT

TOOLS = (
    "bash cat cut dirname env flock getent id mkdir readlink rm sha256sum sleep touch"
)


def names(lines):
    """The distributions that requirement lines name, normalised."""
    found = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {re.sub(r"[-_.]+", "-", match[0]).lower() for match in found if match}


@pytest.fixture
def path(tmp_path):
    """A PATH with the basic tools alone: no Bazel, no apt, no Python."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS.split():
        (folder / tool).symlink_to(shutil.which(tool))
    return folder


def run(path, *command, **env):
    """Runs a script of the project with nothing but `path` and `env`."""
    return subprocess.run(
        ["bash", *map(str, command)],
        env={"PATH": str(path), **{name: str(value) for name, value in env.items()}},
        capture_output=True,
        text=True,
        timeout=60,
    )


def script(path, text):
    """Writes a program."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)
    return path


def fake_python(path, pip="exit 0", version="3.11"):
    """A Python that knows its version, `-m venv FOLDER` and, in there, pip."""
    return script(
        path / "fake-python",
        f"""
case $2 in
  venv)
    echo made >> "{path}/log"
    mkdir -p "$3/bin"
    printf '#!/usr/bin/env bash\\n%s\\n' '{pip}' > "$3/bin/python"
    {shutil.which("chmod")} +x "$3/bin/python"
    ;;
  *) echo {version} ;;
esac""",
    )


class TestEnvironment:
    SCRIPT = ROOT / "third_party" / "bazel" / "venv.sh"

    def run(self, path, tmp_path, **env):
        return run(path, self.SCRIPT, XDG_CACHE_HOME=tmp_path / "cache", **env)

    def environments(self, tmp_path):
        return [
            folder
            for folder in (tmp_path / "cache" / "tfdl").glob("venv-*")
            if folder.is_dir()
        ]

    def test_is_made_once(self, path, tmp_path):
        python = fake_python(path)
        first = self.run(path, tmp_path, TFDL_PYTHON=python)
        again = self.run(path, tmp_path, TFDL_PYTHON=python)
        assert first.returncode == again.returncode == 0, first.stderr
        assert first.stdout == again.stdout
        assert os.access(first.stdout.strip(), os.X_OK)
        assert "setting up" in first.stderr and not again.stderr
        assert (path / "log").read_text() == "made\n"

    def test_is_made_once_by_two_at_once(self, path, tmp_path):
        python = fake_python(path, pip="sleep 1")
        command = ["bash", str(self.SCRIPT)]
        env = {"PATH": str(path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
        env["TFDL_PYTHON"] = str(python)
        both = [
            subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        first, second = (process.communicate(timeout=60)[0] for process in both)
        assert first and first == second
        assert (path / "log").read_text() == "made\n"

    def test_failure_leaves_nothing(self, path, tmp_path):
        python = fake_python(path, pip="echo no network >&2; exit 1")
        failed = self.run(path, tmp_path, TFDL_PYTHON=python)
        assert failed.returncode == 1 and not failed.stdout
        assert "no network" in failed.stderr
        assert "error: pip could not install requirements.txt" in failed.stderr
        assert not self.environments(tmp_path)
        fake_python(path)
        assert self.run(path, tmp_path, TFDL_PYTHON=python).returncode == 0

    def test_unfinished_is_made_again(self, path, tmp_path):
        python = fake_python(path)
        self.run(path, tmp_path, TFDL_PYTHON=python)
        (folder,) = self.environments(tmp_path)
        (folder / ".complete").unlink()
        (folder / "half").touch()
        assert self.run(path, tmp_path, TFDL_PYTHON=python).returncode == 0
        assert not (folder / "half").exists()

    def test_dead_python_is_made_again(self, path, tmp_path):
        python = fake_python(path)
        link = pathlib.Path(self.run(path, tmp_path, TFDL_PYTHON=python).stdout.strip())
        link.unlink()
        link.symlink_to("/nowhere/python3")
        assert self.run(path, tmp_path, TFDL_PYTHON=python).returncode == 0
        assert link.exists()

    @pytest.mark.parametrize(
        "env, message",
        [
            ({}, "error: Python 3.10 to 3.13 is needed"),
            ({"TFDL_PYTHON": "/nowhere/python"}, "is not a Python 3.10 to 3.13"),
            ({"TFDL_VENV": "/nowhere"}, "TFDL_VENV=/nowhere has no bin/python"),
        ],
    )
    def test_says_what_is_missing(self, path, tmp_path, env, message):
        failed = self.run(path, tmp_path, **env)
        assert failed.returncode == 1
        assert message in failed.stderr

    def test_old_python_is_refused(self, path, tmp_path):
        # The test of the version runs in that Python, so it has to be a real one.
        real = sys.executable
        old = script(
            path / "old",
            f"""exec {real} -c "import sys; sys.version_info = (3, 9, 2); $2" """,
        )
        failed = self.run(path, tmp_path, TFDL_PYTHON=old)
        assert failed.returncode == 1
        assert f"TFDL_PYTHON={old} is not a Python 3.10 to 3.13" in failed.stderr


class TestBazelw:
    def test_says_what_to_install(self, path):
        failed = run(path, ROOT / "bazelw", "test", "//...")
        assert failed.returncode == 1
        assert "install Debian's bazel-bootstrap (apt-get install" in failed.stderr
        assert "./tfdl.sh" in failed.stderr

    @pytest.mark.parametrize(
        "name, version, asked",
        [
            ("bazel", "no_version", ""),
            ("bazel", "4.2.4", ""),
            ("bazelisk", "${USE_BAZEL_VERSION:-9.0.0}", "4.2.3"),
        ],
    )
    def test_runs_what_is_there(self, path, name, version, asked):
        text = f"""
if [ "$1" = --version ]; then echo "bazel {version}"; exit; fi
echo "$0 $* in $PWD, ${{USE_BAZEL_VERSION:-}}" """
        script(path / name, text)
        done = run(path, ROOT / "bazelw", "query", "//...")
        assert done.returncode == 0, done.stderr
        assert done.stdout == f"{path / name} query //... in {ROOT}, {asked}\n"

    def test_newer_bazel_is_passed_over(self, path):
        script(path / "bazel", "echo bazel 8.1.0")
        failed = run(path, ROOT / "bazelw", "query", "//...")
        assert failed.returncode == 1
        assert "Bazel 4 is needed" in failed.stderr


class TestReports:
    def test_counts(self, tmp_path):
        report = tmp_path / "test.xml"
        report.write_text(
            "<testsuites><testsuite><testcase/><testcase/>"
            "<testcase><failure/></testcase><testcase><error/></testcase>"
            "<testcase><skipped/></testcase></testsuite></testsuites>"
        )
        totals = reports.count([report, report])
        assert reports.summary(totals) == "4 passed, 4 failed, 2 skipped"

    @pytest.mark.parametrize("content", [None, "", "<testsuites><te", "<testsuites/>"])
    def test_lost_report_is_a_failure(self, tmp_path, content):
        report = tmp_path / "test.xml"
        if content is not None:
            report.write_text(content)
        assert reports.count([report]) == collections.Counter(failed=1)


class TestRunAll:
    def run(self, *arguments):
        command = [sys.executable, str(ROOT / "tests" / "run_all.py")]
        return subprocess.run(
            [*command, *map(str, arguments)], capture_output=True, text=True, timeout=60
        )

    def test_counts_and_fails(self, tmp_path):
        (tmp_path / "test_good.py").write_text("def test_a(): pass\n")
        (tmp_path / "test_bad.py").write_text(
            "import os\ndef test_a(): assert 1 == 2\ndef test_b(): os._exit(0)\n"
        )
        done = self.run(tmp_path)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == "1 passed, 1 failed"
        done = self.run(tmp_path / "test_good.py")
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "1 passed, 0 failed"

    def test_passes_options_on(self, tmp_path):
        (tmp_path / "test_one.py").write_text("def test_a(): pass\n")
        (tmp_path / "test_two.py").write_text("def test_b(): pass\n")
        done = self.run(tmp_path, "-k", "test_b")
        assert done.returncode == 0
        assert done.stdout.splitlines()[-1] == "1 passed, 0 failed"
        assert self.run(tmp_path, "-k", "nothing").returncode == 1


class TestRequirements:
    @pytest.fixture(scope="class")
    def project(self):
        tomllib = pytest.importorskip("tomllib")  # Python 3.11
        return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def test_every_import_is_declared(self, project):
        declared = names((ROOT / "requirements.txt").read_text().splitlines())
        for extra, lines in project["optional-dependencies"].items():
            if extra != "dev":
                declared |= names(lines)
        known = importlib.metadata.packages_distributions()
        known |= {"apache_beam": ["apache-beam"], "ray": ["ray"]}
        known |= {"kagglehub": ["kagglehub"], "spacy": ["spacy"]}
        known["tensorflow_datasets"] = ["tensorflow-datasets"]
        own = {"tfdl", "tf_configs", *sys.stdlib_module_names}
        missing = {}
        for folder in ("tfdl", "tf_configs"):
            for file in (ROOT / folder).rglob("*.py"):
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                    if isinstance(node, ast.Import):
                        modules = [alias.name for alias in node.names]
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        modules = [node.module]
                    else:
                        continue
                    for module in modules:
                        top = module.partition(".")[0]
                        if top not in own and not names(known.get(top, [])) & declared:
                            missing[module] = str(file)
        assert not missing

    def test_dev_extra_is_requirements_dev(self, project):
        lines = (ROOT / "requirements-dev.txt").read_text().splitlines()
        lines = [line for line in lines if line and not line.startswith("#")]
        assert project["optional-dependencies"]["dev"] == lines
