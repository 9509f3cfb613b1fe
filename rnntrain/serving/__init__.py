"""A trained model behind HTTP: one thread computes, for all who ask at the same time.

`worker.py` owns the model and joins what waits into batches; `drawing.py` draws texts side by side; `bodies.py` turns
what a client sent into inputs; `api.py` holds the routes; `server.py` opens the port; `page.html` is for people.
"""
