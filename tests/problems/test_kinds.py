"""Kinds of problems are one table: texts and descriptions of one's own, and a sentence for whatever cannot be."""

import sys

import jax
import numpy as np
import pytest
from contract import assert_contract
from ring_world import HostRing, Registered, Ring, unannotated

import composite_flow as cf
from composite_flow.errors import InputError
from composite_flow.problems import SensorNetwork, kinds, problem_from_description, problem_from_text, world_from_text


@pytest.fixture(autouse=True)
def only_built_in(monkeypatch):
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(kinds._KINDS, "_registered", {})


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Installs a package with entry points: a function of the package's name and of lines `name = value`."""

    def install(package, *lines):
        folder = tmp_path / "site" / f"{package}-1.0.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text("\n".join(["[composite_flow.problems]", *lines]))
        monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return install


def test_own_world_keeps_the_contract(key):
    assert_contract(problem_from_text("ring_world:Ring,size=4"), key, 100)


@pytest.mark.parametrize("text", ["ring_world:Ring:6", "ring_world:Ring,size=6", "ring_world:make:6,steps=None"])
def test_module_and_factory_in_the_place_of_a_kind(text):
    problem = problem_from_text(text)
    assert problem == Ring(6) == problem_from_description(problem.description)


def test_options_reach_the_factory_as_it_annotates_them():
    assert problem_from_text("ring_world:make:4,steps=7") == Ring(4, num_steps=7)

    def taking(name: str, /, number: float, flag: bool, free=None, **others) -> Registered:
        given.update(name=name, number=number, flag=flag, free=free, **others)
        return Registered(4)

    given = {}
    cf.register_problem("taking", taking)
    cf.register_problem("ring", Registered)
    problem_from_text("taking:7,number=2,flag=False,free=x:y,more=3,less=2.5,none=None,list=[1]")
    expected = {"name": "7", "number": 2.0, "flag": False, "free": "x:y", "more": 3, "less": 2.5, "none": None}
    assert given == {**expected, "list": "[1]"}
    assert [type(given[name]) for name in ("number", "more", "less")] == [float, int, float]


def test_registered_kinds_have_texts_and_descriptions():
    cf.register_problem("ring", Registered)
    problem = problem_from_text("ring:6,num_steps=2")
    assert problem == Registered(6, num_steps=2) == problem_from_description(problem.description)
    with pytest.raises(InputError, match="'ring' exists already"):
        cf.register_problem("ring", Registered)
    with pytest.raises(InputError, match="kind of problem 'sensor' exists already"):
        cf.register_problem("sensor", Registered)
    for name in ("a:b", "", "5x5", "a,b"):
        with pytest.raises(InputError, match="use a letter"):
            cf.register_problem(name, Registered)
    with pytest.raises(InputError, match="smax:SCENARIO, ring, or MODULE:FACTORY"):
        problem_from_text("rink:3")
    with pytest.raises(InputError, match="smacv2, ring"):
        problem_from_description({"kind": "rink"})
    with pytest.raises(InputError, match="damaged"):
        problem_from_description({"kind": "ring", "colour": 3})


def test_a_kind_comes_before_a_module_of_its_name(tmp_path, monkeypatch):
    (tmp_path / "ring.py").write_text("from ring_world import make")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert problem_from_text("ring:make") == Ring(4)
    cf.register_problem("ring", Registered)
    with pytest.raises(InputError, match="needs a number after ':make'"):
        problem_from_text("ring:make")


def test_modules_are_found_in_the_working_folder(tmp_path, monkeypatch):
    (tmp_path / "worlds_here.py").write_text("from ring_world import make")
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    assert problem_from_text("worlds_here:make:6") == Ring(6)


def test_entry_points_of_installed_packages(installed, tmp_path):
    installed("rings", "ring = ring_world:Registered", "gone = ring_world_that_is_gone:Ring", "array = ring_world:np")
    problem = problem_from_text("ring,size=6")
    assert problem == Registered(6) == problem_from_description(problem.description)
    with pytest.raises(InputError, match="'gone' of the installed package rings cannot be loaded"):
        problem_from_text("gone,size=6")
    with pytest.raises(InputError, match="'array' cannot be called"):
        problem_from_text("array,size=6")
    with pytest.raises(InputError, match="or MODULE:FACTORY"):  # a broken one does not spoil the list
        problem_from_text("chess")
    with pytest.raises(InputError, match="'ring' exists already"):
        cf.register_problem("ring", Ring)
    installed("more_rings", "ring = ring_world:Ring")
    with pytest.raises(InputError, match="several installed packages: .*rings"):
        problem_from_text("ring,size=6")


def test_a_factory_may_give_a_problem_of_this_library():
    problem = problem_from_text("ring_world:sensors,cells=3")
    assert isinstance(problem, SensorNetwork) and problem.num_areas == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no_such_module:make", "module no_such_module cannot be imported .* there are sensor, tabular"),
        ("ring_world:none", "has no 'none'"),
        ("ring_world:np", "cannot be called: it must be a function or a class"),
        ("ring_world:unannotated", "does not say that it returns one; annotate it"),
        ("os:system", "does not say that it returns one; annotate it"),
        ("ring_world", "There is no problem 'ring_world'"),
        ("ring_world:broken", "its factory raised RuntimeError: no ring today"),
        ("ring_world:nothing", "gave NoneType, which is no Problem"),
        ("ring_world:Ring", "missing 1 required positional argument: 'size'"),
        ("ring_world:nothing:3", "takes none"),
        ("ring_world:Ring,colour=3", "unknown option 'colour': there are size, num_steps"),
        ("ring_world:Ring,size=many", "number after 'size='"),
        ("ring_world:Ring,size=4.5", "number after 'size='"),
        ("ring_world:HostRing", "outside of JAX"),
        ("ring_world:Forgetful:4", "does not give it again .*'size'.* with the arguments of its factory"),
        ("ring_world:Nameless:4", "does not know the kind None"),
        ("ring_world:Other:4", r"it has size \(4, not 6\)"),
        ("ring_world:Unwritable:4", "JSON cannot hold it"),
        ("ring_world:Registered:4", r"no kind of problem 'ring' .*smacv2\); give it"),
    ],
)
def test_worlds_of_ones_own_that_cannot_be_are_refused(text, message):
    with pytest.raises(InputError, match=message) as error:
        problem_from_text(text)
    assert "\n" not in str(error.value)


def test_a_kind_of_this_process_alone_is_no_description(key):
    """Registered here, the description gives the problem again; but no later command would know its kind."""
    cf.register_problem("ring", Registered)
    with pytest.raises(InputError, match="does not know the kind 'ring'"):
        problem_from_text("ring_world:Registered:4")


def test_modules_that_raise_are_told_in_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "raising_worlds.py").write_text("1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match="raising_worlds cannot be imported .ZeroDivisionError: division by zero"):
        problem_from_text("raising_worlds:make")


def test_files_can_call_nothing_but_factories_of_problems(tmp_path):
    target = tmp_path / "touched"
    with pytest.raises(InputError, match="annotate it"):
        problem_from_description({"kind": "pathlib:Path", "args": str(target)})
    with pytest.raises(InputError, match="annotate it"):
        problem_from_description({"kind": "os:mkdir", "path": str(target)})
    assert not target.exists()


def test_worlds_on_the_host(key):
    assert isinstance(world_from_text("ring_world:HostRing"), HostRing)
    cf.register_problem("host", lambda: HostRing())  # does not say what it returns
    with pytest.raises(InputError, match="outside of JAX"):
        problem_from_text("host")
    with pytest.raises(InputError, match="outside of JAX"):
        problem_from_description({"kind": "host"})
    assert cf.collect(world_from_text("host"), 2, key=key).num_steps == 6


def test_optional_members_have_defaults(key):
    class Bare(Ring):
        won = cf.Problem.won

    assert Bare.num_steps == 3 and cf.Problem.num_steps is None and Bare(4).won(None) is None
    assert Bare(4).painter(None) is None and unannotated().won(Ring(4).reset(jax.random.key(3))).dtype == bool


def test_the_loss_floor_of_training_is_for_kinds_that_list_their_states():
    listed = kinds.listing_problem(problem_from_text("ring_world:sensors,cells=3").description)
    assert isinstance(listed, SensorNetwork) and np.asarray(listed.states()).shape == (3, 3)
    for description in (Ring(4).description, {"kind": "gone:make"}, {"kind": "vault"}, {}):
        assert kinds.listing_problem(description) is None
