"""transformers on torch behind LitServe, for benchmarks/serving.py.

Runs in an environment of its own that has torch, transformers and litserve:

    serving_peer.py FOLDER PORT MAX_BATCH_SIZE WORKERS THREADS
"""

import sys

import litserve
import torch
import transformers


class Classifier(litserve.LitAPI):
    """BERT classification on raw strings, batches padded to their longest text."""

    folder, threads, length = "", 1, 128

    def setup(self, device):
        """Loads the same weights."""
        torch.set_num_threads(self.threads)
        transformers.logging.set_verbosity_error()
        self.tokenizer = transformers.BertTokenizer.from_pretrained(self.folder)
        kind = transformers.BertForSequenceClassification
        self.model = kind.from_pretrained(self.folder).eval()

    def decode_request(self, request):
        """Takes the text out of a request."""
        return request["text"]

    def predict(self, texts):
        """Returns class probabilities."""
        alone = isinstance(texts, str)
        batch = self.tokenizer(
            [texts] if alone else list(texts),
            padding=True,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        with torch.inference_mode():
            found = self.model(**batch).logits.softmax(-1)
        return found[0] if alone else found

    def encode_response(self, output):
        """Makes the answer."""
        return {"probabilities": output.tolist()}


def main():
    """Serves until it is killed."""
    folder, port, batch, workers, threads = sys.argv[1:]
    api = Classifier(max_batch_size=int(batch), batch_timeout=0.005)
    # On the object: workers are new processes, which get a copy of it.
    api.folder, api.threads = folder, int(threads)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=int(workers), timeout=120
    )
    server.run(
        host="127.0.0.1",
        port=int(port),
        log_level="error",
        generate_client_file=False,
        num_api_servers=1,
    )


if __name__ == "__main__":
    main()
