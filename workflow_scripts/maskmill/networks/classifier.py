"""The multi-label classifier whose class activation maps are the seeds (IRN, Ahn et al., CVPR 2019)."""

from torch import Tensor, nn
from torch.nn import functional as F

from maskmill.networks.arguments import constructor_arguments
from maskmill.networks.backbones import build_backbone, freeze_batchnorm


class Classifier(nn.Module):
    """Backbone, global average pooling, bias-free 1x1 classifier.

    Args:
        backbone: see `build_backbone`.
        num_classes: foreground classes.
        output_stride: of the backbone.
        frozen_stages: how many of the five stages do not learn (IRN: 3, up to layer2).
        frozen_batchnorm: keep batch norms at their stored statistics (IRN does, because it starts from ImageNet
            weights).
        pretrained: safetensors file with the backbone's weights; only for a new network.
    """

    def __init__(
        self,
        backbone: str,
        num_classes: int,
        *,
        output_stride: int = 16,
        frozen_stages: int = 3,
        frozen_batchnorm: bool = True,
        pretrained: str | None = None,
    ):
        super().__init__()
        self.arguments = constructor_arguments(locals())
        self.backbone = build_backbone(backbone, output_stride=output_stride, pretrained=pretrained)
        self.backbone.freeze(frozen_stages)
        if frozen_batchnorm:
            freeze_batchnorm(self.backbone)
        self.classifier = nn.Conv2d(self.backbone.channels[-1], num_classes, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x: normalised images [B, 3, H, W]. Returns logits [B, num_classes]."""
        pooled = self.backbone(x)[-1].mean(dim=(2, 3), keepdim=True)
        return self.classifier(pooled).flatten(1)

    def cam(self, x: Tensor) -> Tensor:
        """Sum of the class activation maps of an image and of its mirror image, as in IRN's `step/make_cam.py`.

        Args:
            x: one normalised image [1, 3, H, W].

        Returns:
            [num_classes, h, w], all >= 0.
        """
        activation = F.relu(self.classifier(self.backbone(x)[-1]))
        mirrored = F.relu(self.classifier(self.backbone(x.flip(-1))[-1]))
        return (activation + mirrored.flip(-1))[0]
