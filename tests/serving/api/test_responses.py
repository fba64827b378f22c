import json

import numpy as np
import onnxruntime

from clustnet.bundles.bundle import MIXTURE
from clustnet.bundles.predictor import OUTPUTS, Predictor
from serving.api.responses import AnsweringModel, PredictImageResponse, predictions_of
from tests.synthetic import THRESHOLD


def test_predictions_say_what_the_graph_says(any_predictor: Predictor) -> None:
    manifest = any_predictor.manifest
    images = np.random.default_rng(0).integers(0, 256, (8, *manifest.input.shape)).astype(np.uint8)
    session = onnxruntime.InferenceSession(any_predictor.bundle.path(MIXTURE), providers=["CPUExecutionProvider"])
    graph = dict(zip(OUTPUTS, session.run(OUTPUTS, {"image": images}), strict=True))

    predictions = predictions_of(any_predictor.predict(images), manifest)

    assert len(predictions) == 8
    for i, prediction in enumerate(predictions):
        coarse, classes = graph["coarse_probability"][i], graph["class_probability"][i]
        label = manifest.coarse_labels[coarse.argmax()]
        assert prediction.coarse.label == label
        np.testing.assert_allclose(prediction.coarse.probabilities, coarse, rtol=1e-6)
        np.testing.assert_allclose(prediction.coarse.probability, coarse.max(), rtol=1e-6)
        np.testing.assert_allclose(prediction.routing, graph["routing"][i], rtol=1e-6)
        assert prediction.expert == graph["routing"][i].argmax()
        own = [index for index, subtype in enumerate(manifest.subtypes) if subtype.coarse_label == label]
        best = max(own, key=lambda index: classes[index])
        assert prediction.guess.label == manifest.subtypes[best].name
        np.testing.assert_allclose(prediction.guess.probability, classes[best], rtol=1e-6)
        np.testing.assert_allclose(prediction.class_probabilities, classes, rtol=1e-6)
        np.testing.assert_allclose(prediction.confidence, graph["confidence"][i], rtol=1e-6)
        assert prediction.abstain == (graph["confidence"][i] < THRESHOLD)


def test_binary_is_for_two_coarse_labels(any_predictor: Predictor) -> None:
    images = np.zeros((1, *any_predictor.manifest.input.shape), np.uint8)
    (prediction,) = predictions_of(any_predictor.predict(images), any_predictor.manifest)
    answer = json.loads(prediction.model_dump_json())
    coarse = {key: answer["coarse"][key] for key in ("label", "probability")}
    assert answer["binary"] == (coarse if len(any_predictor.manifest.coarse_labels) == 2 else None)


def test_prepared_colour_images_keep_their_shape(predictor: Predictor) -> None:
    (prediction,) = predictions_of(predictor.predict(np.zeros((1, 28, 28), np.uint8)), predictor.manifest)
    prepared = np.arange(12).reshape(2, 2, 3).tolist()
    model = AnsweringModel(name="colour", version="1")
    answer = PredictImageResponse(model=model, prediction=prediction, prepared=prepared)
    assert answer.model_dump()["prepared"] == prepared
