"""The public checkpoints' own configurations, as their folders on the hub state them."""

from __future__ import annotations

_BLOCKS = {
    "down_block_types": ("CrossAttnDownBlock2D",) * 3 + ("DownBlock2D",),
    "up_block_types": ("UpBlock2D",) + ("CrossAttnUpBlock2D",) * 3,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "in_channels": 4,
    "out_channels": 4,
}
_WORDS = {"vocab_size": 49408, "max_position_embeddings": 77}
FIRST = {  # CompVis/stable-diffusion-v1-4
    "unet": {**_BLOCKS, "sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
    "text_encoder": {**_WORDS, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
                     "num_attention_heads": 12, "hidden_act": "quick_gelu", "projection_dim": 768},
}  # fmt: skip
SECOND = {  # stabilityai/stable-diffusion-2-1, which predicts velocities: OpenCLIP ViT-H without its last layer
    "unet": {**_BLOCKS, "sample_size": 96, "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20],
             "use_linear_projection": True, "upcast_attention": True},
    "text_encoder": {**_WORDS, "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23,
                     "num_attention_heads": 16, "hidden_act": "gelu", "projection_dim": 512},
}  # fmt: skip
AUTOENCODER = {
    "sample_size": 512,
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "scaling_factor": 0.18215,
}
