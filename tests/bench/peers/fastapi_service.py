"""FastAPI, as its documentation has it: the model is loaded in the lifespan, files are uploaded as
UploadFile, and a path operation that computes is a plain `def`, which runs in the thread pool."""
from contextlib import asynccontextmanager

from fastapi import FastAPI, UploadFile
from model import Model

shared = {}


@asynccontextmanager
async def lifespan(_):
    shared["model"] = Model()
    yield
    shared.clear()


app = FastAPI(lifespan=lifespan)


@app.post("/classify")
def classify(file: UploadFile):
    model = shared["model"]
    return model.answer(model.probabilities(model.prepare(file.file.read()))[0])
