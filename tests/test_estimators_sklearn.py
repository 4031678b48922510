"""scikit-learn's own tests and checks pass on the estimators."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

sklearn = pytest.importorskip("sklearn", minversion="1.6")

from sklearn.utils.estimator_checks import check_estimator  # noqa: E402

import backprop  # noqa: E402
from backprop.estimators import MLPClassifier, MLPRegressor  # noqa: E402

pytestmark = pytest.mark.once

SKIPPED = {"check_array_api_input", "check_classifiers_multilabel_output_format_decision_function"}  # needs what is not there
HAS_WEIGHTS = tuple(int(part) for part in sklearn.__version__.split(".")[:2]) >= (1, 9)


@pytest.mark.skipif(not HAS_WEIGHTS, reason="the tests of older versions expect what 1.9 has changed")
def test_the_tests_of_scikit_learn_pass(tmp_path: Path) -> None:
    options = ["-q", "-p", "in_place_of_sklearn", "-p", "no:cacheprovider", "--rootdir", str(tmp_path)]
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(backprop.__file__).parent.parent)])
    run = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--pyargs", "sklearn.neural_network.tests.test_mlp"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-4000:]
    assert "58 passed, 1 deselected" in run.stdout


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "estimator",
    [
        MLPClassifier(max_iter=20),
        MLPRegressor(max_iter=20),
        MLPClassifier(max_iter=20, scale="standard", layer_norm=True),
        MLPRegressor(max_iter=20, scale="robust", missing="impute"),
    ],
    ids=["classifier", "regressor", "scaled classifier", "scaled regressor"],
)
def test_the_checks_of_scikit_learn_pass(estimator: MLPClassifier | MLPRegressor) -> None:
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    failed = [(result["check_name"], result["exception"]) for result in results if result["status"] == "failed"]
    assert failed == []
    assert {result["check_name"] for result in results if result["status"] != "passed"} <= SKIPPED


@pytest.mark.skipif(not HAS_WEIGHTS, reason="older versions have fewer")
def test_the_parameters_are_those_of_scikit_learn_in_their_order() -> None:
    import sklearn.neural_network as theirs

    for ours in (MLPClassifier, MLPRegressor):
        wanted = getattr(theirs, ours.__name__)().get_params()
        given = ours().get_params()
        assert {name: given[name] for name in wanted} == wanted
        code = ours.__init__.__code__
        names = [name for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount] if name in wanted]
        reference = getattr(theirs, ours.__name__).__init__.__code__
        assert names == list(reference.co_varnames[1 : reference.co_argcount + reference.co_kwonlyargcount])
        assert code.co_argcount == reference.co_argcount


def test_a_failed_import_names_the_extra() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import backprop.estimators"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "pip install 'backprop[sklearn]'" in run.stderr.splitlines()[-1]


def test_importing_the_library_does_not_import_scikit_learn() -> None:
    code = "import sys, backprop as bp; bp.mlp([2, 2], seed=0).predict([[1.0, 2.0]]); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
