"""What the card of a model says."""

from small_run import nci_smiles, small_config

from molbt.model.card import model_card, with_results
from molbt.model.checkpoint import add_results, read_config
from molbt.training.trainer import pretrain

OBJECTIVES = [{"name": "barlow_twins", "redundancy_weight": 8.0}, {"name": "barlow_twins", "redundancy_weight": 1.0, "weight": 3.0}]


def card_of(facts, **changes):
    config = {"run_config": small_config(**changes).as_dict(), "facts": facts, "molbt_version": "1.2.3", "sha256": "ab" * 32}
    return model_card(config, n_parameters=12_345)


def test_a_run_writes_what_a_stranger_needs(tmp_path):
    values = nci_smiles(140)
    (tmp_path / "bench.csv").write_text("smiles\n" + "\n".join(values[:12]) + "\n")
    config = small_config(objectives=OBJECTIVES, trainer={"epochs": 2})
    run = pretrain(values, tmp_path / "run", config=config, exclude=[tmp_path / "bench.csv"], licence="CC0")
    card = (run.model / "README.md").read_text()
    facts = read_config(run.model)["facts"]
    last = run.metrics.iloc[-1]
    n_excluded = len(set(values[:12]))
    for part in (
        "## Intended use",
        "## Limits",
        "## How to cite",
        "licence of the data: CC0",
        f"molecules of bench.csv were excluded from training: {n_excluded} values",
        f"samples seen: {int(last['samples_seen'])}",
        f"view a {last['embedding_rank.a']:.3g}"[:9],
        read_config(run.model)["sha256"],
        "torch ",
        "https://arxiv.org/abs/2103.03230",
    ):
        assert part in card
    # Two objectives: the shares are those of the loss that was minimised.
    assert abs(sum(facts["loss_shares"].values()) - 1) < 0.002
    shares = {name.removesuffix(".contribution"): value / last["loss"] for name, value in last.items() if name.endswith(".contribution")}
    assert facts["loss_shares"] == {name: round(value, 3) for name, value in shares.items()}
    assert "share of the loss in the last epoch: " in card


def test_contributions_add_up_to_the_loss(tmp_path):
    config = small_config(objectives=OBJECTIVES, trainer={"epochs": 1})
    last = pretrain(nci_smiles(140), tmp_path / "run", config=config).metrics.iloc[-1]
    parts = [value for name, value in last.items() if name.endswith(".contribution")]
    assert len(parts) == 2
    assert abs(sum(parts) / last["loss"] - 1) < 1e-5


def test_a_card_without_facts_says_so():
    card = card_of({})
    assert "- not recorded" in card
    assert "licence of the data: not stated" in card
    assert "no molecules are recorded as excluded" in card
    assert "seen_*" not in card
    assert "12,345 parameters" in card


def test_results_are_added_once_and_then_replaced():
    card = card_of({"molecules": 280})
    one = with_results(card, "a table\n")
    assert one.startswith(card.rstrip())
    assert one.endswith("## Benchmark results\n```text\na table\n```\n")
    assert with_results(with_results(card, "old \\1 numbers"), "a table") == one


def test_results_go_into_the_card_of_a_model(tmp_path):
    run = pretrain(nci_smiles(80), tmp_path / "run", config=small_config(trainer={"epochs": 1}))
    path = add_results(run.directory, "counts  0.62")
    assert path == run.model / "README.md"
    assert "counts  0.62" in path.read_text()
