"""What there is to see."""

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render


async def index(request: HttpRequest) -> HttpResponse:
    return render(request, "hello/index.html", {"client": request.META["REMOTE_ADDR"]})
