"""Prediction over HTTP: exams are uploaded as jobs on disk, one process answers them in turn, results are fetched."""
