"""What is for sale and who has subscribed to it."""

from marketplace.models.endpoint import Endpoint
from marketplace.models.examination import EndpointTrial, Examination
from marketplace.models.figures import Figures
from marketplace.models.listing import Listing
from marketplace.models.plan import Meter, Plan, PlanVersion, PriceComponent
from marketplace.models.subscription import Subscription
from marketplace.models.upload import Upload, UploadFile
from marketplace.models.version import Task, Version, VersionFile

__all__ = [
    "Endpoint", "EndpointTrial", "Examination", "Figures", "Listing", "Meter", "Plan", "PlanVersion", "PriceComponent", "Subscription", "Task", "Upload",
    "UploadFile", "Version", "VersionFile",
]  # fmt: skip
