"""Space and local entry point: `python app.py` builds the page and serves it."""

from steering.ui.serve import serve

if __name__ == "__main__":
    serve()
