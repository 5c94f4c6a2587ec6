"""The PACS loop: exams come in over DICOM, wait on disk, are answered, and their results go back. Knows no network."""
