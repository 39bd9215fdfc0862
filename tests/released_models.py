"""Small random checkpoints under their authors' names, and their authors' loops.

Each class is built as the reference builds its own: the same modules under the same
names, added rows by `resize_token_embeddings`, LoRA by PEFT. `says` is the reference's
inference for a batch of one, written out plainly.
"""

import json

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = [
    "Ann has 3 apples and buys 4. How many has she?",
    "What is 2 + 2?",
    "Start with 7 and take 5 away. What is left of it?",
    "How many legs have two dogs and a hen?",
    "Is 8 more than 9?",
    "A bag holds 12 coins. How many do 3 bags hold?",
]


def save_torch(tensors, folder, name="pytorch_model.bin"):
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(dict(tensors), folder / name)
    return folder


def save_tensors(tensors, folder, name="model.safetensors"):
    folder.mkdir(parents=True, exist_ok=True)
    own = {key: value.clone().contiguous() for key, value in tensors.items()}
    save_file(own, folder / name)
    return folder


class Reference(nn.Module):
    """What the four have in common: a base, greedy text, words of its own only."""

    def __init__(self, folder, added=0, multiple=None):
        super().__init__()
        torch.manual_seed(1)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        base = AutoModelForCausalLM.from_pretrained(folder)
        self.vocabulary = base.config.vocab_size
        if added:
            base.resize_token_embeddings(
                self.vocabulary + added, pad_to_multiple_of=multiple
            )
            for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
                layer.weight.data[self.vocabulary :].normal_(std=0.3)
        self.folder, self.base = folder, (base.eval(),)

    def embed(self, ids):
        return self.base[0].get_input_embeddings()(torch.tensor([ids]))

    def ids(self, text):
        return self.tokenizer(text)["input_ids"]

    def run(self, vectors):
        out = self.base[0](inputs_embeds=vectors, output_hidden_states=True)
        return out.hidden_states[-1][:, -1], out.logits[0, -1]

    @torch.no_grad()
    def write(self, vectors, n):
        new = []
        while len(new) < n:
            word = int(self.run(vectors)[1][: self.vocabulary].argmax())
            new.append(word)
            if word == self.tokenizer.eos_token_id:
                break
            vectors = torch.cat([vectors, self.embed([word])], 1)
        return self.tokenizer.decode(new, skip_special_tokens=True)


class Codi(Reference):
    """`src/model.py` of zhenyi4/codi."""

    def __init__(self, folder, inner=48):
        super().__init__(folder, added=3)
        (base,) = self.base
        gpt2 = base.config.model_type == "gpt2"
        targets = ["c_attn", "c_proj", "c_fc"] if gpt2 else ["q_proj", "down_proj"]
        lora = LoraConfig(r=4, lora_alpha=32, target_modules=targets, lora_dropout=0.1)
        self.codi = get_peft_model(base, lora).eval()
        for name, weight in self.codi.named_parameters():
            if "lora_B" in name:
                weight.data.normal_(std=0.05)
        self.prj = nn.Sequential(
            nn.Dropout(0.0), nn.Linear(64, inner), nn.GELU(), nn.Linear(inner, 64)
        )
        self.prj.add_module("ln", nn.LayerNorm(64))
        self.prj.ln.weight.data.normal_()

    @torch.no_grad()
    def says(self, question, n_latents, n):
        v = self.vocabulary
        vectors = self.embed([*self.ids(question), v + 1])
        for _ in range(n_latents):
            latent = self.prj(self.run(vectors)[0])[:, None]
            vectors = torch.cat([vectors, latent], 1)
        return self.write(torch.cat([vectors, self.embed([v + 2])], 1), n)


class Coconut(Reference):
    """`coconut.py` of facebookresearch/coconut."""

    def __init__(self, folder):
        super().__init__(folder, added=3)
        self.base_causallm = self.base[0]
        self.embedding = self.base_causallm.get_input_embeddings()

    @torch.no_grad()
    def says(self, question, n_latents, n):
        v = self.vocabulary
        vectors = self.embed([*self.ids(question + "\n"), v])
        for _ in range(n_latents):
            vectors = torch.cat([vectors, self.run(vectors)[0][:, None]], 1)
        return self.write(torch.cat([vectors, self.embed([v + 1])], 1), n)


class Filter(nn.Module):
    """`RecurrentFilterMLP` of `src/modeling_utils.py`."""

    def __init__(self, width):
        super().__init__()
        self.input_layer = nn.Linear(width, width)
        self.output_layer = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x):
        return self.norm(self.output_layer(nn.functional.gelu(self.input_layer(x))))


class Adaptive(Reference):
    """`src/modeling.py` of apning/adaptive-latent-reasoning, merged."""

    def __init__(self, folder):
        super().__init__(folder, added=4, multiple=128)
        (self._base_model,) = self.base
        self.recurrent_filter = Filter(64)
        self.recurrent_filter.norm.weight.data.normal_()
        # The head decides now so, now so.
        head = self._base_model.get_output_embeddings().weight.data
        head[self.vocabulary + 2 : self.vocabulary + 4].normal_()

    def config(self, **settings):
        v, rows = self.vocabulary, len(self._base_model.get_input_embeddings().weight)
        names = ("start", "end", "continue", "stop")  # the order of the tokenizer
        ids = {f"{name}_token_id": v + k for k, name in enumerate(names)}
        own = {
            "recurrent_filter_mode": "MLP",
            "lora_mode": False,
            "binary_head_temp": 2,
        }
        own |= ids | {"unused_token_ids": list(range(v + 4, rows))} | settings
        config = self._base_model.config.to_dict()
        return config | {"_inserted_LatentThinkingModelSettings": own}

    def save(self, folder, save=save_tensors, without=(), **settings):
        state = self.state_dict()
        save({k: v for k, v in state.items() if not k.endswith(without)}, folder)
        (folder / "config.json").write_text(json.dumps(self.config(**settings)))
        self.tokenizer.save_pretrained(folder)
        return folder

    @torch.no_grad()
    def says(self, question, n_max, n):
        v = self.vocabulary
        head = self._base_model.get_output_embeddings().weight
        vectors, latents = self.embed([*self.ids(question), v]), 0
        while latents < n_max:
            state, _ = self.run(vectors)
            carry_on, stop = (state @ head[[v + 2, v + 3]].T)[0]
            if stop > carry_on:
                break
            vectors = torch.cat([vectors, self.recurrent_filter(state)[:, None]], 1)
            latents += 1
        return latents, self.write(torch.cat([vectors, self.embed([v + 1])], 1), n)


class LatentSFT(Reference):
    """`one_example_generate_hf` of DJC-GO-SOLO/Latent-SFT, greedy."""

    def save(self, folder, **how):
        self.base[0].save_pretrained(folder, **how)
        self.tokenizer.save_pretrained(folder)
        return folder

    def plain(self, text):
        return self.tokenizer(text, add_special_tokens=False)["input_ids"]

    def asked(self, question):
        text = (
            "<|start_header_id|>user<|end_header_id|>\n\nPlease reason step by step, "
            "and put your final answer within \\boxed{}.\n" + question + "<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
        )
        return self.embed([*self.plain(text), *self.plain("<think>")])

    @torch.no_grad()
    def end_after(self, question):
        """Let the end of thinking be likely after this question, and after others
        perhaps."""
        head = self.base[0].get_output_embeddings().weight
        head[self.plain("</think>")[0]] = self.run(self.asked(question))[0][0] / 3

    @torch.no_grad()
    def says(self, question, n_max, n, k=10):
        end = self.plain("</think>")
        table = self.base[0].get_input_embeddings().weight
        vectors, latents = self.asked(question), 0
        while latents < n_max:
            logits = self.run(vectors)[1]
            if int(logits.argmax()) == end[0]:
                break
            top, which = logits.topk(k)
            mixed = (top.softmax(-1) @ table[which])[None, None]
            vectors = torch.cat([vectors, mixed], 1)
            latents += 1
        return latents, self.write(torch.cat([vectors, self.embed(end)], 1), n)
