"""The models that can be run: the one that is deployed, and those in the bucket."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from chalicelib.aws.object_store import ObjectStore
from chalicelib.aws.parameters import WatchedParameter
from chalicelib.errors import ModelError, ObjectMissing
from chalicelib.inference.package import DESCRIPTION_FILE, ModelPackage
from chalicelib.models import ModelChoice, model_key


@dataclass(frozen=True, kw_only=True)
class Models:
    """Finds models by their reference, ``default`` or ``NAME@VERSION``.

    Args:
        deployed: Read the packages that came with the deployment; ``default`` is among them.
        uploads: The bucket, whose ``models/NAME/VERSION/`` hold the others.
        choice: Which are active and shadow.
    """

    deployed: Mapping[str, Callable[[], ModelPackage]]
    uploads: ObjectStore
    choice: WatchedParameter[ModelChoice]
    _found: dict[str, ModelPackage] = field(default_factory=dict, init=False)

    def active(self) -> ModelPackage:
        """The model whose answers are shown.

        Raises:
            ModelError: It cannot be read.
            ServiceUnavailable: AWS does not answer, and never has in this process.
        """
        return self.find(self.choice.value().active)

    def shadow(self, image_id: str) -> ModelPackage | None:
        """The model that answers for this image beside the active one, to be counted.

        Raises:
            ModelError: It cannot be read.
            ServiceUnavailable: AWS does not answer.
        """
        choice = self.choice.value()
        if choice.shadow is None or not choice.shadows(image_id):
            return None
        return self.find(choice.shadow)

    def find(self, reference: str) -> ModelPackage:
        """The model of this reference; read once, for a version never changes.

        Raises:
            ModelError: There is none, or a file of it is missing or wrong.
            ServiceUnavailable: S3 does not answer as it should.
        """
        if reference not in self._found:
            self._found[reference] = self._deployed(reference) or self._stored(reference)
        return self._found[reference]

    def has(self, reference: str) -> bool:
        """Whether there is a model of this reference; raises `ServiceUnavailable` as `find`."""
        # What the deployment carries is there, also where its files are out of reach.
        if reference in self.deployed:
            return True
        try:
            self.find(reference)
        except ModelError:
            return False
        return True

    def check(self, choice: ModelChoice) -> None:
        """Raise `ModelError` for a choice of a model that is not there."""
        self.find(choice.active).description.input_shape()
        if choice.shadow is not None:
            self.find(choice.shadow).description.input_shape()

    def _deployed(self, reference: str) -> ModelPackage | None:
        if reference in self.deployed:
            return self.deployed[reference]()
        for read in self.deployed.values():
            # One that is broken is told by its own name; it must not stand before the others.
            with suppress(ModelError):
                package = read()
                if package.description.reference == reference:
                    return package
        return None

    def _stored(self, reference: str) -> ModelPackage:
        def read(name: str) -> bytes:
            try:
                return self.uploads.get(model_key(reference, name)).body
            except ObjectMissing:
                raise ModelError(f"There is no model {reference!r}: it has no {name}.") from None

        package = ModelPackage.open(f"models/{reference.replace('@', '/')}", read)
        if package.description.reference != reference:
            raise ModelError(
                f"The fields name and version of {package.place}/{DESCRIPTION_FILE} are those of "
                f"{package.description.reference}."
            )
        return package
