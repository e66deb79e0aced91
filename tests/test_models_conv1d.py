import numpy as np
import pytest
import torch

from ecgveil.models.bilstm_cnn import BilstmSettings
from ecgveil.models.bilstm_cnn import Critic as BilstmCritic
from ecgveil.models.bilstm_cnn import Generator as BilstmGenerator
from ecgveil.models.contract import Context, stack
from ecgveil.models.conv1d import ClassCritic, Conv1dSettings, Critic, Generator, lengths
from ecgveil.training.objectives import OBJECTIVES, Pair

RNG = torch.Generator()
LENGTHS = [16, 17, 31, 200, 201, 1250, 2500]


def noises(generator, n, classes=0):
    rng = np.random.default_rng(0)
    return stack(
        [generator.draw(rng, np.eye(classes, dtype=np.float32)[i % classes] if classes else None) for i in range(n)]
    )


@pytest.mark.parametrize("n_samples", LENGTHS)
@pytest.mark.parametrize("norm", ["none", "instance", "batch"])
def test_the_convolutional_pair_takes_any_length(n_samples, norm):
    settings, context = Conv1dSettings(width=2, latent=3, critic_norm=norm), Context((2, n_samples), 250.0)
    made = Generator(settings, context)(noises(Generator(settings, context), 2))
    assert made.shape == (2, 2, n_samples)
    assert made.abs().max() <= 1
    assert Critic(settings, context)(made, RNG).shape == (2, 1)


@pytest.mark.parametrize("n_samples", LENGTHS)
def test_bilstm_cnn_takes_any_length(n_samples):
    settings, context = BilstmSettings(hidden=2), Context((2, n_samples), 250.0)
    generator = BilstmGenerator(settings, context)
    made = generator(noises(generator, 2))
    assert made.shape == (2, 2, n_samples)
    assert BilstmCritic(settings, context)(made, RNG).shape == (2, 1)


def test_sizes_of_the_published_code():
    """Adib et al. 2022: 64, 128, 256, 512 channels in the critic for 256 samples, the generator's the other way."""
    settings, context = Conv1dSettings(), Context((1, 256), 360.0)
    convs = [each for each in Critic(settings, context).trunk if isinstance(each, torch.nn.Conv1d)]
    assert [each.weight.shape[0] for each in convs] == [64, 128, 256, 512]
    assert {(each.kernel_size, each.stride, each.padding) for each in convs} == {((4,), (2,), (1,))}
    assert [each.weight.shape[1] for each in Generator(settings, context).ups] == [256, 128, 64, 1]
    assert lengths(256) == [256, 128, 64, 32, 16]


def test_the_critic_of_3120_samples_has_the_published_layers():
    """Zhu et al. 2019: kernels 120, 46, 36, 24; strides 5, 3, 3, 3; 10 values of 5 maps at the end."""
    net = BilstmCritic(BilstmSettings(), Context((1, 3120), 360.0)).net
    one = [x[0] if isinstance(x, tuple) else x for x in (net[0].kernel_size, net[2].kernel_size)]
    two = [x[0] if isinstance(x, tuple) else x for x in (net[3].kernel_size, net[5].kernel_size)]
    assert [*one, *two] == [120, 46, 36, 24]
    assert [net[0].stride, net[2].stride, net[3].stride, net[5].stride] == [(5,), 3, (3,), 3]
    assert net[7].in_features == 5 * 10


def test_a_beat_leaves_the_bilstm_critic_something_to_judge_by():
    net = BilstmCritic(BilstmSettings(), Context((1, 200), 250.0)).net
    assert net[7].in_features >= 5 * 3


def test_dropout_comes_from_the_samples_own_stream_and_ends_with_training():
    generator = BilstmGenerator(BilstmSettings(hidden=3, dropout=0.5), Context((1, 40), 250.0))
    before = torch.get_rng_state()
    noise = noises(generator, 4)
    assert set(noise["kept"].unique().tolist()) == {0.0, 2.0}
    first, again = generator(noise), generator(noise)
    assert torch.equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    generator.eval()
    assert "kept" not in noises(generator, 1)


def test_a_critic_that_names_the_class_is_not_told_it():
    settings, context = Conv1dSettings(width=2), Context((1, 64), 250.0, n_conditions=3)
    critic, x = ClassCritic(settings, context), torch.randn(4, 1, 64, generator=torch.Generator().manual_seed(0))
    told = [critic(x, RNG, torch.eye(3)[[i] * 4]) for i in range(2)]
    assert torch.equal(*told)
    scores, logits = critic.classified(x, RNG)
    assert torch.equal(scores, told[0])
    assert logits.shape == (4, 3)


@pytest.mark.parametrize("objective", ["acgan", "ac-wgan-gp"])
def test_the_class_head_learns_classes(objective):
    """Two classes that differ in sign: after a few steps the head tells held-out ones apart."""
    settings, context = Conv1dSettings(width=2, critic_norm="none"), Context((1, 32), 250.0, n_conditions=2)
    torch.manual_seed(0)
    critic, rng = ClassCritic(settings, context), torch.Generator().manual_seed(1)

    class Told:
        penalty, penalty_every, label_smoothing, class_weight = 10.0, 1, 0.0, 1.0

    def some():
        condition = torch.eye(2).repeat(8, 1)
        sign = (1 - 2 * condition[:, :1])[:, :, None]
        return sign + 0.5 * torch.randn(16, 1, 32, generator=rng), condition

    optimizer = torch.optim.Adam(critic.parameters(), 0.01)
    for step in range(60):
        real, condition = some()
        pair = Pair(real, torch.randn(16, 1, 32, generator=rng) * 0.1, condition)
        loss = OBJECTIVES[objective].critic_loss(critic, pair, rng, Told(), step)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    held_out, condition = some()
    _, logits = critic.classified(held_out, rng)
    assert (logits.argmax(1) == condition.argmax(1)).float().mean() > 0.9
