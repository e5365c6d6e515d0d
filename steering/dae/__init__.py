"""The toy laboratory: a two-layer ReLU denoising autoencoder, its closed forms, and what it stores."""
