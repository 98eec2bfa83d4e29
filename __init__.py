"""DC-Solver: few-step sampling with dynamic compensation, for ComfyUI and the WebUI family."""
