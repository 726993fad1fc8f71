"""What a run tells: figures, text, HTML, JSON, a folder of files, and plots."""
