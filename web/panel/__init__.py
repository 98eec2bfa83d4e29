"""The Gradio panel: the library of calibrations, their curves, and CPRs to move through."""
