from django.apps import AppConfig


class DashboardConfig(AppConfig):
    name = "dashboard"

    def ready(self) -> None:
        from dashboard.events import FEED, KEPT, figures_event
        from realtime.figures.ticker import tick

        tick(FEED, figures_event, keep=KEPT)
