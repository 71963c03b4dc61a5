"""All settings, from the environment alone. A missing or wrong one fails here with one clear sentence."""

import os
from pathlib import Path
from typing import Any

from django.templatetags.static import static

from portal.kit import environment, outbound, policies, private, site
from portal.kit.environment import flag, listed, number

BASE_DIR = Path(__file__).resolve().parent.parent
HOME = Path(os.environ.get("MERCATO_HOME") or BASE_DIR / "var").resolve()

DEBUG = flag("DEBUG", default=False)
PORT = environment.port()

REDIS_URL = environment.redis_url()


def read_secret_key() -> str:
    """SECRET_KEY, or one made once and kept in the home with the other state."""
    if key := site.secret_key():
        return key
    kept = HOME / "secret_key"
    if not kept.exists():
        from portal.kit.secrets import write_new_secret

        write_new_secret(kept)
    return kept.read_text().strip()


SECRET_KEY = read_secret_key()


def read_encryption_keys() -> list[str]:
    """ENCRYPTION_KEYS, the first of which seals; or one made once and kept in the home."""
    from portal.kit.secrets import check_encryption_keys, write_new_encryption_key

    if keys := listed("ENCRYPTION_KEYS", default=""):
        return check_encryption_keys(keys)
    kept = HOME / "encryption_key"
    if not kept.exists():
        write_new_encryption_key(kept)
    return check_encryption_keys([kept.read_text().strip()])


ENCRYPTION_KEYS = read_encryption_keys()
ALLOWED_HOSTS = site.allowed_hosts()
PUBLIC_URL = site.public_url()
SECURE = PUBLIC_URL.startswith("https://")
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]

INSTALLED_APPS = [
    "portal.accounts",
    "portal.dashboard",
    "portal.kit",
    "marketplace",
    "billing",
    "inference",
    "unfold",
    "unfold.contrib.filters",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.postgres",
    "django.contrib.humanize",
    "allauth",
    "allauth.account",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "csp",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "portal.kit.headers.ContentSecurityPolicyMiddleware",
    "django_permissions_policy.PermissionsPolicyMiddleware",
    "portal.kit.headers.NoStoreMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "portal.kit.pages.NullCharactersMiddleware",
    "portal.kit.api_requests.ApiRequestsMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.accounts.current.CurrentOrganisationMiddleware",
    "portal.kit.pages.ErrorPagesMiddleware",
    "portal.accounts.throttling.WriteLimitMiddleware",
]

ROOT_URLCONF = "portal.urls"
ASGI_APPLICATION = "portal.asgi.application"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "django.template.context_processors.i18n",
                "portal.accounts.current.current_organisation",
            ],
        },
    },
]

DATABASES = {"default": environment.database()}
CACHES = {
    "default": {
        "BACKEND": "portal.kit.cache.SurvivingCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "cache",
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Identity
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
ACCOUNT_ADAPTER = "portal.accounts.adapter.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = site.email_verification()
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_FORMS = {"signup": "portal.accounts.sign_up.SignUpForm"}
# An address that is added to an account never tells whether another has it.
ACCOUNT_PREVENT_ENUMERATION = "strict"
# Whoever follows the link has proved more than a password does; and no guessing elsewhere keeps them out then.
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
# Of wrong passwords: `portal.accounts.attempts`.
ACCOUNT_RATE_LIMITS = {"login_failed": None}
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
MAIL = environment.mail()
EMAIL_BACKEND, EMAIL_HOST, EMAIL_PORT = MAIL.backend, MAIL.host, MAIL.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = MAIL.user, MAIL.password
EMAIL_USE_TLS, EMAIL_USE_SSL, EMAIL_TIMEOUT = MAIL.security == "tls", MAIL.security == "ssl", 15
DEFAULT_FROM_EMAIL = site.sender()

# Whom people ask that the operator has stopped: an address or a page.
OPERATOR_CONTACT = os.environ.get("OPERATOR_CONTACT", "").strip()

# The web
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE
SECURE_SSL_REDIRECT = flag("SECURE_SSL_REDIRECT", default=SECURE)
SECURE_HSTS_SECONDS = 31_536_000 if SECURE else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = SECURE
TRUST_PROXY = flag("TRUST_PROXY", default=False)
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None
CSRF_FAILURE_VIEW = "portal.kit.pages.answer_forgery"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {"DIRECTIVES": policies.PAGES}
PERMISSIONS_POLICY = policies.PERMISSIONS
STATIC_URL = "static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "portal" / "static"]
MEDIA_ROOT = HOME / "media"
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    "weights": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {
            "location": str(HOME / "weights"),
            "file_permissions_mode": private.FILE,
            "directory_permissions_mode": private.FOLDER,
        },
    },
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20
FILE_UPLOAD_MAX_MEMORY_SIZE = 2 * 2**20

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("zh-hans", "简体中文")]
LOCALE_PATHS = [BASE_DIR / "locale"]
TIME_ZONE = "UTC"
USE_I18N = USE_TZ = True

# The control plane
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "portal.accounts.auth.ApiKeyAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["portal.accounts.throttling.WriteThrottle"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "DEFAULT_PAGINATION_CLASS": "portal.kit.api.KeysetPagination",
    "PAGE_SIZE": 50,
    "DEFAULT_PARSER_CLASSES": [
        "portal.kit.api.BoundedJSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "portal.kit.api.handle_exception",
    # There is one format of answers, and a `format` that nobody reads is refused as every other parameter.
    "URL_FORMAT_OVERRIDE": None,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Mercato control API",
    "DESCRIPTION": "Publish, price and subscribe to AI models; read usage and invoices.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "ENUM_NAME_OVERRIDES": {
        "OrganisationKind": "portal.accounts.models.Organisation.Kind",
        "ListingState": "marketplace.models.Listing.State",
        "VersionState": "marketplace.models.Version.State",
        "PlanKind": "marketplace.models.Plan.Kind",
        "VersionKind": "marketplace.models.Version.Kind",
    },
}

# The operators' console
# The accent of every other page, in shades.
_ACCENT = {
    "50": "97% .014", "100": "94% .03", "200": "88% .06", "300": "80% .105", "400": "70% .155", "500": "60% .19",
    "600": "50.5% .2", "700": "44% .18", "800": "38% .15", "900": "33% .12", "950": "25% .08",
}  # fmt: skip
UNFOLD = {
    "SITE_TITLE": "Mercato",
    "SITE_HEADER": "Mercato operations",
    "SITE_SYMBOL": "storefront",
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("favicon.svg")}
    ],
    "SITE_URL": "/",
    "COLORS": {"primary": {shade: f"oklch({tone} 268)" for shade, tone in _ACCENT.items()}},
}

# Work
CELERY_BROKER_URL = site.broker_url()
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "jobs"
CELERY_TASK_CREATE_MISSING_QUEUES = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 6 * 3600}

# Where providers' own servers may be.
OUTBOUND = outbound.read()

# Money: the operator's share of gross, in basis points, and the currency in which plans are priced.
COMMISSION_BASIS_POINTS = site.commission_basis_points()
CURRENCY = site.currency()

# For how many days single calls are kept; 0 for ever.
USAGE_EVENT_DAYS = site.usage_event_days()

# Seconds that the demo world's language model may train.
DEMO_TRAINING_SECONDS = number("DEMO_TRAINING_SECONDS", default=120, at_least=1)

# What an organisation may do with its own listings without a subscription, all of them together. Limits of 0 are none.
OWN_USE_REQUESTS_PER_MINUTE = number("OWN_USE_REQUESTS_PER_MINUTE", default=60)
OWN_USE_CONCURRENT_REQUESTS = number("OWN_USE_CONCURRENT_REQUESTS", default=4)

# Weights
UPLOAD_LIMIT_BYTES = number("UPLOAD_LIMIT_BYTES", at_least=1, default=50 * 2**30)
ORGANISATION_QUOTA_BYTES = number("ORGANISATION_QUOTA_BYTES", at_least=1, default=500 * 2**30)
# Over all organisations that a user owns, and over all there are; 0 is no limit.
USER_QUOTA_BYTES = number("USER_QUOTA_BYTES", default=1000 * 2**30)
SITE_QUOTA_BYTES = number("SITE_QUOTA_BYTES", default=0)
# What uploads leave free of the disk that holds the weights.
FREE_DISK_BYTES = number("FREE_DISK_BYTES", default=5 * 2**30)
# How many things there may be; 0 is no limit.
QUOTAS = {
    "organisations": number("ORGANISATIONS_PER_USER", default=10),
    "listings": number("LISTINGS_PER_ORGANISATION", default=200),
    "versions": number("VERSIONS_PER_LISTING", default=500),
    "endpoints": number("ENDPOINTS_PER_ORGANISATION", default=200),
    "uploads": number("UPLOADS_PER_ORGANISATION", default=30),
    "plans": number("PLANS_PER_LISTING", default=30),
    "keys": number("KEYS_PER_ORGANISATION", default=200),
    "members": number("MEMBERS_PER_ORGANISATION", default=200),
    "subscriptions": number("SUBSCRIPTIONS_PER_ORGANISATION", default=500),
    "made_per_hour": number("MADE_PER_HOUR", default=500),
}
# Calls without an account in a day: from one address, and in all.
VISITOR_CALLS_PER_DAY = number("VISITOR_CALLS_PER_DAY", default=50)
ALL_VISITORS_CALLS_PER_DAY = number("ALL_VISITORS_CALLS_PER_DAY", default=5000)
# Requests that change something, by one user (or address) in a minute, uploads' chunks apart.
WRITES_PER_MINUTE = number("WRITES_PER_MINUTE", default=600)
WORKER_MEMORY_BYTES = number("WORKER_MEMORY_BYTES", default=0)
WORKER_CACHE_BYTES = number("WORKER_CACHE_BYTES", at_least=1, default=50 * 2**30)
WORKER_DRAIN_SECONDS = environment.drain_seconds()
WORKER_STEP_SECONDS = number("WORKER_STEP_SECONDS", default=120, at_least=1)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "filters": {
        # A site that starts is not ready for a moment; that is an answer, not an error.
        "not_readiness": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: "/readyz" not in record.getMessage(),
        }
    },
    "handlers": {
        "console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["not_readiness"]}
    },
    "root": {"handlers": ["console"], "level": site.log_level()},
    "loggers": {"httpx": {"level": "WARNING"}, "httpx2": {"level": "WARNING"}},
}
