"""Outputs averaged over views: what is averaged, and that a network's option does so only in evaluation mode."""

import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from imagier.models.airbench import Airbench
from imagier.models.densenet import DenseNet121
from imagier.models.drunet import DRUNet
from imagier.models.pixels import FromPixels
from imagier.models.resnet9 import ResNet9
from imagier.models.swiftnet import SwiftNet
from imagier.models.views import over_symmetries, with_mirror
from imagier.models.wide_resnet import WideResNet

NETS = {
    "airbench": lambda many: Airbench(3, 5, widths=[4, 6, 6], mirror=many),
    "densenet": lambda many: DenseNet121(3, 5, mirror=many),
    "drunet": lambda many: DRUNet(3, [4, 6], depth=1, symmetries=many),
    "resnet9": lambda many: ResNet9(3, 5, width=4, mirror=many),
    "swiftnet": lambda many: SwiftNet(3, 5, width=4, ladder=4, mirror=many),
    "wide_resnet": lambda many: WideResNet(3, 5, depth=10, widen=1, mirror=many),
}


def turned(image: Tensor, quarters: int, mirrored: bool) -> Tensor:
    image = image.rot90(quarters, (-2, -1))
    return image.flip(-1) if mirrored else image


def test_the_eight_symmetries_are_all_asked_and_undone() -> None:
    convolution = nn.Conv2d(3, 2, 3, padding=1)
    image = torch.randn(2, 3, 6, 9)
    answers = []
    for mirrored in (False, True):
        for quarters in range(4):
            answer = convolution(turned(image, quarters, mirrored))
            answers.append((answer.flip(-1) if mirrored else answer).rot90(-quarters, (-2, -1)))
    torch.testing.assert_close(over_symmetries(convolution, image), torch.stack(answers).mean(0))


def test_a_label_has_no_mirror_image_to_undo() -> None:
    def answer(image: Tensor) -> Tensor:
        return image[:, :, 0, 0]

    image = torch.randn(2, 5, 4, 6)
    torch.testing.assert_close(with_mirror(answer, image), (image[:, :, 0, 0] + image[:, :, 0, -1]) / 2)


@pytest.mark.parametrize("name", NETS)
def test_a_net_with_the_option_answers_alike_to_its_views_in_evaluation_alone(name: str) -> None:
    torch.manual_seed(0)
    image = torch.rand(2, 3, 32, 48)
    once, often = NETS[name](False), NETS[name](True)
    for parameter in once.parameters():  # blocks initialised as the identity would make the test trivial
        nn.init.normal_(parameter, std=0.4)
    often.load_state_dict(once.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(often.train()(image), once.train()(image))
        straight, mirrored = often.eval()(image), often(image.flip(-1))
        torch.testing.assert_close(mirrored.flip(-1) if mirrored.ndim == 4 else mirrored, straight)
        assert not torch.allclose(once.eval()(image), straight, atol=1e-4)


def test_eight_views_are_exported_for_every_size() -> None:
    net = FromPixels(NETS["drunet"](True), [0.5] * 3, [0.2] * 3).eval()
    free = {0: Dim("batch", min=1), 2: Dim("height", min=1), 3: Dim("width", min=1)}
    with torch.no_grad():
        nn.init.normal_(net.net.tail.weight, std=0.2)
        image = torch.zeros(2, 3, 40, 56, dtype=torch.uint8)
        graph = torch.export.export(net, (image,), dynamic_shapes=(free,)).module()
        other = torch.randint(0, 256, (1, 3, 33, 17), dtype=torch.uint8)
        torch.testing.assert_close(graph(other), net(other))
