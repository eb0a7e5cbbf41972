"""Which views share an encoder, and what a twin takes over from another configuration."""

import pytest
import torch
from small_run import DESCRIPTORS, FINGERPRINTS, small_config

from molbt.config import RunConfig
from molbt.errors import ConfigError
from molbt.model.twin_model import TwinModel, architecture, encoder_keys, reset_randomly

A = FINGERPRINTS["a"]
FITTED = {"descriptors": {"centre": torch.arange(6.0), "scale": torch.full((6,), 2.0)}}


def config_of(**views: dict) -> RunConfig:
    names = list(views)
    return small_config(views=views, pairs=[names[:2]])


@pytest.mark.parametrize(
    ("second", "is_shared"),
    [
        (A, True),
        ({**A, "drop": 0.5}, True),
        ({**A, "width": 512}, False),
        ({**A, "column": "product"}, False),
        ({**A, "share_encoder": False}, False),
        ({**A, "encoder": {"hidden": [48]}}, False),
        (DESCRIPTORS, False),
    ],
)
def test_views_of_one_input_share_an_encoder(second, is_shared):
    keys = encoder_keys(config_of(a=A, b=second))
    assert keys == {"a": "a", "b": "a" if is_shared else "b"}


def test_third_view_shares_with_whichever_is_like_it():
    keys = encoder_keys(config_of(a=A, b={**A, "width": 512}, c={**A, "width": 512, "drop": 0.9}, d=A))
    assert keys == {"a": "a", "b": "b", "c": "b", "d": "a"}


def test_shared_encoders_and_projectors_are_one_module():
    twin = TwinModel(config_of(a=A, b=A), {})
    assert twin.encoder_of("a") is twin.encoder_of("b")
    assert twin.projector_of("a") is twin.projector_of("b")
    apart = TwinModel(config_of(a=A, b={**A, "share_encoder": False}), {})
    assert apart.encoder_of("a") is not apart.encoder_of("b")
    assert len(apart.state_dict()) == 2 * len(twin.state_dict())


def test_views_have_the_widths_of_their_own_networks():
    twin = TwinModel(config_of(a=A, descriptors={**DESCRIPTORS, "encoder": {"embedding_dim": 8}}), FITTED)
    assert (twin.embedding_dim("a"), twin.embedding_dim("descriptors")) == (16, 8)
    assert twin.projection_dim("a") == twin.projection_dim("descriptors") == 24
    hidden = twin.encode("descriptors", torch.randn(5, 6), "hidden_1")
    assert hidden.shape == (5, 32)
    assert twin.project("descriptors", twin.encode("descriptors", torch.randn(5, 6))).shape == (5, 24)


def test_unknown_view_and_unknown_encoder_setting_are_named():
    twin = TwinModel(config_of(a=A, b=A), {})
    with pytest.raises(ConfigError, match=r"unknown view 'A'\. Valid: a, b"):
        twin.encode("A", None)
    with pytest.raises(ConfigError, match=r"unknown key 'hiden' in the encoder section for modality 'fingerprint'; did you mean 'hidden'"):
        TwinModel(small_config(encoder={"hiden": [3]}), {})


@pytest.mark.parametrize("name", ["type", "values", "train"])
def test_view_with_the_name_of_a_method_is_refused(name):
    # torch keeps the encoders as attributes of a module.
    with pytest.raises(ConfigError, match=f"view '{name}' has a name that torch's modules use themselves; choose another"):
        TwinModel(config_of(**{name: A, "b": A}), {})


def test_adopted_configuration_changes_augmentations_alone():
    twin = TwinModel(config_of(a=A, b=A), {})
    before = dict(twin.state_dict())
    config = config_of(a={**A, "drop": 0.4}, b={**A, "drop": 0.4})
    twin.adopt(config)
    assert twin.config is config
    assert twin.modalities["b"].drop == 0.4
    assert all(tensor is before[name] or torch.equal(tensor, before[name]) for name, tensor in twin.state_dict().items())
    assert architecture(config) == architecture(config_of(a=A, b=A))


def test_configuration_of_other_networks_is_not_adopted():
    twin = TwinModel(config_of(a=A, b=A), {})
    config = twin.config
    with pytest.raises(ConfigError, match=r"views\.b\.encoder_key: a -> b"):
        twin.adopt(config_of(a=A, b={**A, "share_encoder": False}))
    assert twin.config is config


def test_reset_twin_has_other_weights_and_the_same_scaling():
    twin = TwinModel(config_of(a=A, descriptors=DESCRIPTORS), FITTED)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first, again, other = (reset_randomly(twin, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    weight, centre = "encoders.a.last.weight", "encoders.descriptors.fitted.centre"
    assert torch.equal(first[weight], again[weight])
    assert not torch.equal(first[weight], other[weight])
    assert not torch.equal(first[weight], twin.state_dict()[weight])
    assert torch.equal(first[centre], FITTED["descriptors"]["centre"])
