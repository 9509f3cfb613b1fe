"""From raw inputs to plain answers: texts, sound, series and numbers in; labels, spans, transcripts, forecasts out.

`predictor.py` holds the contract, `encoding.py` what turns a raw input into what a model reads, one class a kind; one
module a family of answers; `readers/` finds inputs in files, folders and streams; `writing.py` writes the answers down.
"""
