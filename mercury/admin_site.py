"""Mercury's admin site."""

from django.contrib import admin


class MercuryAdminSite(admin.AdminSite):
    """Django's admin under Mercury's name."""

    site_header = "Mercury"
