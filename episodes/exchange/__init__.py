"""Exchanging stores: push one to a place that a URL names, pull one from there."""

from episodes.exchange.pulling import Pulled, pull
from episodes.exchange.pushing import Pushed, push

__all__ = ["Pulled", "Pushed", "pull", "push"]
