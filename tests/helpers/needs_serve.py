"""Imported by tests of the server, and skips them where its packages are missing."""

import pytest

for name in ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpx"):
    pytest.importorskip(name, reason=f"{name} is not here: pip install '.[serve]' httpx")
