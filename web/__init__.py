"""What people see in a browser: ``comfy`` is served by ComfyUI, ``panel`` drawn by Gradio."""
