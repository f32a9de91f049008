"""Networks: backbones, and the heads that make a reID model of them."""
