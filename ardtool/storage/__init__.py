"""Files: safetensors model files, run folders, pictures; everything is written aside and renamed, nothing executes on load."""
