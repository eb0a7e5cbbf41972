"""The run configuration: what it refuses and in which words, changes, likeness, round trips, hashes and shared encoders."""

import pytest
import yaml

from molbt import registry
from molbt.config import RunConfig, differences, preset_names
from molbt.errors import ConfigError
from molbt.model.twin_model import encoder_keys
from molbt.objectives.base import Objective

VIEW = {"modality": "fingerprint", "kinds": ["ecfp4"], "width": 256}


def settings(**sections):
    """The smallest configuration, as a mapping."""
    return {"views": {"a": VIEW, "b": {"like": "a"}}, "pairs": [["a", "b"]], "objectives": [{"name": "barlow_twins"}], **sections}


def build(**sections):
    return RunConfig.from_dict(settings(**sections))


@pytest.mark.parametrize(
    ("change", "wrong", "meant"),
    [
        ("trainers.epochs=3", "trainers", "trainer"),
        ("trainer.epoch=3", "epoch", "epochs"),
        ("projector.width=[8]", "width", "widths"),
        ("molecules.standardize=none", "standardize", "standardise"),
        ("labels.activity.values=y", "values", "value"),
        ("views.a.dorp=0.1", "dorp", "drop"),
        ("views.a.colum=s", "colum", "column"),
        ("views.a.encoder.hiden=[8]", "hiden", "hidden"),
        ("encoder.embeding_dim=8", "embeding_dim", "embedding_dim"),
        ("objectives.0.redundancy_wieght=8", "redundancy_wieght", "redundancy_weight"),
        ("objectives.0.wieght=8", "wieght", "weight"),
        ("objectives.0.name=barlow_twin", "barlow_twin", "barlow_twins"),
        ("views.a.modality=fingerprnt", "fingerprnt", "fingerprint"),
    ],
)
def test_an_unknown_name_is_refused_with_the_closest_one(change, wrong, meant):
    with pytest.raises(ConfigError, match=rf"'{wrong}'.*did you mean '{meant}'\?"):
        RunConfig.from_dict(settings(), changes=[change])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainer.epochs=0", r"trainer\.epochs: .*greater than or equal to 1, received 0"),
        ("trainer.epochs=many", r"trainer\.epochs: .*valid integer.*received 'many'"),
        ("trainer.learning_rate=.inf", "finite"),
        ("trainer.warmup=1", "less than 1"),
        ("objectives.0.weight=0", "greater than 0"),
        ("objectives.0.weight=.nan", r"objectives\.0\.weight"),
        ("objectives.0.redundancy_weight=much", "objective 'barlow_twins' cannot be built from .*much"),
        ("objectives.0.pairs=[]", r"objectives\.0\.pairs"),
        ("objectives=[]", "objectives is empty"),
        ("pairs=[]", "pairs is empty"),
        ("pairs=[[a, a]]", "scores a view with itself"),
        ("pairs=[[a, b], [b, a]]", "more than once"),
        ("pairs=[[a, bb]]", r"names the view 'bb', which is not defined; did you mean 'b'\?"),
        ("views.b.like=c", "is like 'c', which is not defined. Valid: a, b"),
        ("views={a: {modality: fingerprint}}", "two or more views, found 1"),
        ("views.c.d={modality: fingerprint}", r"view 'c' has no modality"),
        ("projector.widths=[8, 0]", r"projector\.widths\.1: .*greater than 0"),
        ("molecules.standardise=salt", "'none', 'largest_fragment' or 'neutral', received 'salt'"),
        ("views.a.drop=2", "view of modality 'fingerprint' cannot be used: drop"),
        ("trainer=3", "trainer"),
        ("views=3", "views"),
    ],
)
def test_a_value_out_of_range_is_refused_with_its_place(change, said):
    with pytest.raises(ConfigError, match=said):
        RunConfig.from_dict(settings(), changes=[change])


@pytest.mark.parametrize("name", ["a.b", "", "1a", "a b", "../x"])
def test_a_view_needs_a_name_that_can_name_files_and_modules(name):
    with pytest.raises(ConfigError, match="needs a name of letters, digits and _"):
        RunConfig.from_dict({**settings(), "views": {name: VIEW, "b": {"like": name}}, "pairs": [[name, "b"]]})


def test_like_takes_everything_over_that_is_not_given():
    config = build(views={"a": {**VIEW, "drop": 0.1}, "b": {"like": "a", "drop": 0.4}, "c": {"like": "b", "column": "other"}})
    a, b, c = (config.views[name].build_modality().model_dump() for name in "abc")
    assert {**a, "drop": 0.4} == b == c
    assert [config.views[name].column for name in "abc"] == ["smiles", "smiles", "other"]


@pytest.mark.parametrize("views", [{"a": {"like": "b"}, "b": {"like": "a"}}, {"a": VIEW, "b": {"like": "b"}}])
def test_views_that_are_like_each_other_in_a_circle_are_refused(views):
    with pytest.raises(ConfigError, match="like each other in a circle"):
        RunConfig.from_dict({**settings(), "views": views})


def test_changes_reach_sections_lists_and_views_and_the_last_one_wins():
    config = RunConfig.from_dict(
        settings(),
        changes=[
            "trainer.epochs=3",
            "trainer.epochs=4",
            "objectives.0.weight=0.5",
            "views.a.width=512",
            "trainer.max_steps=",
            "pairs=[[b, a]]",
        ],
    )
    assert (config.trainer.epochs, config.trainer.max_steps, config.objectives[0].weight) == (4, None, 0.5)
    assert config.pairs == (("b", "a"),)
    assert config.views["b"].build_modality().width == 512  # b is like a after the change too


def test_changes_leave_the_given_mapping_as_it_is():
    given = settings()
    RunConfig.from_dict(given, changes=["objectives.0.weight=0.5", "views.a.width=512"])
    assert given == settings()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("trainer.epochs", "expected KEY.SUBKEY=VALUE"),
        ("=3", "expected KEY.SUBKEY=VALUE"),
        ("objectives.1.weight=2", r"no setting at 'objectives\.1': objectives is a list of 1"),
        ("objectives.-1.weight=2", "objectives is a list of 1"),
        ("objectives.first.weight=2", "objectives is a list of 1"),
        ("pairs.0.2=b", "is a list of 2"),
        ("pairs.0.0.x=b", r"pairs\.0\.0 is 'a', not a section"),
        ("trainer.epochs=[1", "is not valid YAML"),
    ],
)
def test_a_change_that_leads_nowhere_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        RunConfig.from_dict(settings(), changes=[change])


@pytest.mark.parametrize(("text", "number"), [("1e-3", 1e-3), ("2E+1", 20.0), ("1.5e2", 150.0), ("-3e-1", -0.3), ("7", 7)])
def test_a_number_with_an_exponent_is_a_number(text, number):
    # PyYAML follows YAML 1.1, in which 1e-3 is text.
    assert yaml.safe_load("1e-3") == "1e-3"
    config = RunConfig.from_dict(settings(), changes=[f"encoder.dropout={text}"])
    assert config.encoder["dropout"] == number


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_and_survives_yaml(name, tmp_path):
    config = RunConfig.from_preset(name)
    path = tmp_path / "config.yaml"
    path.write_text(config.to_yaml(), encoding="utf-8")
    again = RunConfig.from_yaml(path)
    assert again == config
    assert again.sha256() == config.sha256()
    assert again.to_yaml() == config.to_yaml()


def test_presets_are_those_of_the_package():
    assert {"default", "paper", "fingerprint_descriptors"} <= set(preset_names())
    with pytest.raises(ConfigError, match=r"unknown preset 'papr'; did you mean 'paper'\?"):
        RunConfig.from_preset("papr")


def test_the_paper_preset_has_the_numbers_of_the_paper():
    # Zbontar et al. 2021: three layers of 8192 (section 2.2), lambda 5e-3 in the text and 0.0051 in the code.
    config = RunConfig.from_preset("paper")
    assert config.projector.widths == (8192, 8192, 8192)
    assert config.objectives[0].parameters()["redundancy_lambda"] == 0.0051


def test_two_spellings_of_one_configuration_are_equal():
    short = build(objectives=[{"name": "barlow_twins"}])
    long = build(views={"a": {**VIEW, "drop": 0.0, "column": "smiles"}, "b": dict(VIEW)}, trainer={"epochs": 20}, labels={})
    assert short == long
    assert short.sha256() == long.sha256()


def test_the_saved_form_implies_nothing():
    saved = build().as_dict()
    assert saved["views"]["b"]["kinds"] == ["ecfp4"]
    assert saved["views"]["b"]["drop"] == 0.0
    assert saved["objectives"][0]["normalisation"] == "official"
    assert saved["trainer"]["batch_size"] == 1024


def test_the_hash_changes_with_any_setting():
    changes = [
        "trainer.seed=1",
        "views.b.drop=0.2",
        "encoder.hidden=[8]",
        "objectives.0.weight=2",
        "molecules.max_length=10",
        "views.a.column=x",
    ]
    hashes = {RunConfig.from_dict(settings(), changes=changed).sha256() for changed in ([], *([change] for change in changes))}
    assert len(hashes) == len(changes) + 1


def test_differences_name_each_setting_and_only_those():
    old, new = build().as_dict(), RunConfig.from_dict(settings(), changes=["trainer.epochs=30", "objectives.0.weight=0.5"]).as_dict()
    assert differences(old, new) == ["objectives.0.weight: 1.0 -> 0.5", "trainer.epochs: 20 -> 30"]
    assert differences(old, old) == []
    assert differences({"a": [1, 2]}, {"a": [1]}) == ["a: [1, 2] -> [1]"]
    assert differences({}, {"a": 1}) == ["a: None -> 1"]


@pytest.mark.parametrize(
    ("second", "keys"),
    [
        ({}, ["a", "a"]),
        ({"drop": 0.3, "count_noise": 0.1}, ["a", "a"]),  # augmentation
        ({"width": 512}, ["a", "b"]),  # preparation
        ({"transform": "count"}, ["a", "b"]),  # what the encoder receives
        ({"column": "other"}, ["a", "b"]),
        ({"encoder": {"hidden": [8]}}, ["a", "b"]),
        ({"share_encoder": False}, ["a", "b"]),
    ],
)
def test_views_share_an_encoder_unless_their_input_or_encoder_differs(second, keys):
    config = build(views={"a": VIEW, "b": {"like": "a", **second}})
    assert list(encoder_keys(config).values()) == keys


def test_a_view_that_keeps_its_encoder_to_itself_leaves_the_others_together():
    config = build(views={"a": VIEW, "b": {"like": "a", "share_encoder": False}, "c": {"like": "a"}})
    assert encoder_keys(config) == {"a": "a", "b": "b", "c": "a"}


class _Supervised(Objective):
    requires_labels = True

    def __init__(self, *, labels: str = "activity"):
        super().__init__()


@pytest.fixture
def supervised(monkeypatch):
    """An objective that needs labels, under the name ``supervised``."""
    find = registry.find
    monkeypatch.setattr(registry, "find", lambda kind, name: _Supervised if name == "supervised" else find(kind, name))


def test_an_objective_that_needs_labels_says_how_to_give_them(supervised):
    objectives = [{"name": "barlow_twins"}, {"name": "supervised"}]
    with pytest.raises(ConfigError, match=r"'supervised'.*needs labels.*labels: \{activity: \{value: pIC50\}\}"):
        build(objectives=objectives)
    with pytest.raises(ConfigError, match=r"reads the label set 'activity'; did you mean 'activty'\?"):
        build(objectives=objectives, labels={"activty": {"value": "y"}})
    assert build(objectives=objectives, labels={"activity": {"value": "y", "task": "assay"}}).labels["activity"].task == "assay"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"views: [", "is not valid YAML"),
        (b"trainer: {seed: 1, seed: 2}", "the key 'seed' is given more than once"),
        (b"- a\n- b", "expected a mapping of sections in .*found list"),
        (b"", "found NoneType"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"!!python/object/apply:os.system ['true']", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_configuration_is_named(content, said, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=said) as caught:
        RunConfig.from_yaml(path)
    assert "run.yaml" in str(caught.value)


def test_a_missing_file_says_what_to_pass(tmp_path):
    with pytest.raises(ConfigError, match="found none; pass --config FILE, or --preset NAME"):
        RunConfig.from_yaml(tmp_path / "run.yaml")


def test_the_smiles_column_changes_in_molecular_views(tmp_path):
    config = build().with_smiles_column("SMILES")
    assert {view.column for view in config.views.values()} == {"SMILES"}
    assert build().views["a"].column == "smiles"


def test_a_configuration_cannot_be_changed_in_place():
    with pytest.raises(ValueError, match="frozen"):
        build().trainer.epochs = 3


def test_change_of_a_view_that_is_not_there_names_those_that_are():
    with pytest.raises(ConfigError, match=r"view 'a' has no modality \(other views here: fingerprint, descriptors\)"):
        RunConfig.from_preset("fingerprint_descriptors", changes=["views.a.width=512"])
