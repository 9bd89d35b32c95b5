"""Django's registration of the accounts app."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "legacy_monolith.accounts"
    label = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Note logins ourselves: Django's own receiver would write a customer who may not be ours."""
        from django.contrib.auth.signals import user_logged_in

        from legacy_monolith.accounts import events  # noqa: F401  (its receivers register themselves)
        from legacy_monolith.accounts.backend import note_login

        user_logged_in.disconnect(dispatch_uid="update_last_login")
        user_logged_in.connect(note_login, dispatch_uid="note_login")
