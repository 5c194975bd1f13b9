"""A convolutional autoencoder for 28 x 28 images, small enough to read and to prune by hand."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


class ConvAutoencoder(nn.Module):
    """Encoder, latent and decoder with seven prunable groups.

    The three components are children of the model, so that a group of units can be told to lie inside one of
    them or to cross the boundary between two. No size is written into ``forward``: a model with fewer
    channels runs unchanged.

    Parameters
    ----------
    channels : tuple of int
        Channels of the two convolutions; the decoder mirrors them.
    hidden : int
        Width of the dense layer on each side of the latent.
    latent : int
        Size of the code.
    """

    def __init__(self, channels: tuple[int, int] = (16, 32), hidden: int = 128, latent: int = 32):
        super().__init__()
        first, second = channels
        self.encoder = nn.Sequential(
            OrderedDict(
                conv1=nn.Conv2d(1, first, 3, stride=2, padding=1),  # 28 -> 14
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(first, second, 3, stride=2, padding=1),  # 14 -> 7
                relu2=nn.ReLU(),
                flatten=nn.Flatten(),
                hidden=nn.Linear(second * 49, hidden),
                relu3=nn.ReLU(),
            )
        )
        self.latent = nn.Linear(hidden, latent)
        self.decoder = nn.Sequential(
            OrderedDict(
                hidden=nn.Linear(latent, hidden),
                relu1=nn.ReLU(),
                expand=nn.Linear(hidden, second * 49),
                relu2=nn.ReLU(),
                unflatten=nn.Unflatten(1, (-1, 7, 7)),
                deconv1=nn.ConvTranspose2d(second, first, 4, stride=2, padding=1),  # 7 -> 14
                relu3=nn.ReLU(),
                deconv2=nn.ConvTranspose2d(first, 1, 4, stride=2, padding=1),  # 14 -> 28
                output=nn.Sigmoid(),
            )
        )

    def forward(self, images):
        """Reconstruct images.

        Parameters
        ----------
        images : torch.Tensor
            Shape (N, 1, 28, 28), values in [0, 1].

        Returns
        -------
        torch.Tensor
            Of the same shape and range.
        """
        return self.decoder(self.latent(self.encoder(images)))
