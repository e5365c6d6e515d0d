"""The Gradio page: one file a panel, callbacks that call the package. Nothing in the package imports this."""
