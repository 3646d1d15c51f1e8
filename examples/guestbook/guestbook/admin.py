from django.contrib import admin

from guestbook.counters import forget_entries
from guestbook.forms import PictureForm
from guestbook.models import Entry, Heartbeat

admin.site.site_header = "Guestbook"
admin.site.site_title = "Guestbook"
admin.site.index_title = "Administration"


@admin.register(Entry)
class EntryAdmin(admin.ModelAdmin):
    form = PictureForm
    fields = ["name", "message", "picture", "is_spam", "created_at"]
    readonly_fields = ["created_at"]
    list_display = ["name", "message", "created_at", "is_spam"]
    list_filter = ["is_spam", "created_at"]
    search_fields = ["name", "message"]
    date_hierarchy = "created_at"
    actions = ["flag_as_spam", "clear_spam_flag"]

    @admin.action(description="Flag as spam")
    def flag_as_spam(self, request, queryset):
        queryset.update(is_spam=True)
        forget_entries()

    @admin.action(description="Not spam")
    def clear_spam_flag(self, request, queryset):
        queryset.update(is_spam=False)
        forget_entries()


@admin.register(Heartbeat)
class HeartbeatAdmin(admin.ModelAdmin):
    list_display = ["name", "host", "pid", "release", "beats", "started_at", "seen_at"]

    def has_add_permission(self, request):
        return False

    def has_change_permission(self, request, obj=None):
        return False
