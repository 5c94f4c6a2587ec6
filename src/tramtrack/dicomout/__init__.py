"""Results where radiologists look: what was answered of an exam, as DICOM objects in the exam's own study."""
