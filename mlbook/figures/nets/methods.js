// The lab's methods, each from its shipped weights: `method(name, ...)(support)(query)` gives a score for every class.
// `weights` maps the names of torch's state dict to { shape, values }; support has one picture of 28x28 a class, as the
// query a Float32Array of 784 numbers in [0, 1]. Every score's argmax is the answer; what a score is differs.
import { dot, layerNorm, norm, squaredDistance, sum, unit } from "./vectors.js";
import { alike } from "./comparing.js";
import { folded } from "./conv.js";
import { blocks, descend, flattened, forward } from "./conv4.js";
import { emit, scores } from "./generated.js";
import { embed, half, relate } from "./relation.js";
import { answer, read } from "./transformer.js";
import { unpacked } from "./weights.js";

const values = (weights, name) => weights[name].values;
const pair = (weights, name) => ({ weight: values(weights, `${name}.weight`), bias: weights[`${name}.bias`]?.values });

// A convolution and the batch norm behind it, as one.
const fold = (weights, conv, norm) => {
  const of = (what) => values(weights, `${norm}.${what}`);
  return folded({ ...pair(weights, conv), out: weights[`${conv}.weight`].shape[0] },
    { gamma: of("weight"), beta: of("bias") }, { mean: of("running_mean"), variance: of("running_var") });
};
const convolutions = (weights) => [0, 1, 2, 3].map((i) => fold(weights, `embed.blocks.${i}.0`, `embed.blocks.${i}.1`));

// A function of a picture that remembers its last answers: a support picture is embedded once.
const remembered = (f) => {
  const known = new Map();
  return (x) => {
    const key = x.join();
    if (!known.has(key)) known.set(key, f(x));
    if (known.size > 24) known.delete(known.keys().next().value);
    return known.get(key);
  };
};
const embedder = (weights) => {
  const layers = convolutions(weights);
  return remembered((x) => flattened(blocks(layers, x, 1).maps, 1)[0]);
};
const normalised = (weights) => {
  const f = embedder(weights), { weight, bias } = pair(weights, "norm");
  return (x) => layerNorm(f(x), weight, bias);
};

const prototypical = (weights) => {
  const f = embedder(weights);
  return (support) => {
    const c = support.map(f);
    return (x) => {
      const z = f(x);
      return c.map((k) => -squaredDistance(z, k));
    };
  };
};

const matching = (weights) => {
  const f = embedder(weights), s = Math.exp(values(weights, "log_s")[0]);
  return (support) => {
    const g = support.map((x) => unit(f(x)));
    return (x) => {
      const z = unit(f(x)), e = g.map((k) => s * dot(z, k)), top = Math.max(...e);
      return e.map((v) => v - top - Math.log(sum(e.map((u) => Math.exp(u - top)))));
    };
  };
};

const siamese = (weights) => {
  const f = embedder(weights), { weight, bias } = pair(weights, "alpha");
  return (support) => {
    const h = support.map(f);
    return (x) => {
      const own = f(x);
      return h.map((k) => alike(weight, bias[0], own, k).u);
    };
  };
};

const relation = (weights) => {
  const [f1, f2, f3, f4] = convolutions(weights), layer = (name) => pair(weights, `relation.rest.${name}`);
  // the norm behind a pair's first convolution is shared out: its scale to both halves, its shift to the class's
  const s = fold(weights, "relation.conv_s", "relation.rest.0");
  const q = { ...fold(weights, "relation.conv_q", "relation.rest.0"), bias: null };
  const net = { f1, f2, f3, f4, s, q, g2: fold(weights, "relation.rest.3", "relation.rest.4"),
    hidden: layer("8"), out: layer("10") };
  const f = remembered((x) => embed(net, x));
  return (support) => {
    const halves = support.map((x) => half(s, f(x)));
    return (x) => {
      const own = half(q, f(x));
      return halves.map((a) => relate(net, a, own).score);
    };
  };
};

const hypernetwork = (weights) => {
  const f = normalised(weights), phi = pair(weights, "phi.0"), first = pair(weights, "rho.0");
  const net = { phi: [...phi.weight, ...phi.bias], hidden: phi.bias.length,
    rho: [...first.weight, ...first.bias, ...values(weights, "rho.2.weight")] };
  return (support) => {
    const w = emit(net, support.map((x) => [f(x)]));
    return (x) => scores(w, f(x));
  };
};

const in_context = (weights) => {
  const f = normalised(weights), heads = 2;
  const layer = (l) => {
    const of = (name) => pair(weights, `blocks.${l}.${name}`);
    return { heads, norm1: of("norm_1"), norm2: of("norm_2"), match: of("match"), value: of("value"), out: of("out"),
      up: of("mlp.0"), down: of("mlp.2") };
  };
  const net = { labels: values(weights, "label.weight"), blocks: [0, 1].map(layer), norm: pair(weights, "head.0"),
    head: pair(weights, "head.1") };
  return (support) => {
    const memory = read(net, support.map(f));
    return (x) => answer(net, memory, f(x)).slice(0, support.length);
  };
};

const centroids = (weights) => {
  const f = embedder(weights);
  return (support) => {
    const c = support.map((x) => unit(f(x)));
    return (x) => {
      const z = unit(f(x));
      return c.map((k) => dot(z, k));
    };
  };
};

// Nearest pixels: nothing is learned.
const pixels = () => (support) => (x) => support.map((s) => -norm(s.map((v, i) => v - x[i])));

// MAML: steps of gradient descent on the support set. A learner gives the scores after so many, learner(query, 3), or a
// list of them after 0, 1, ..., `steps`. A query is answered in the company of the support set: batch norm needs more.
const maml = (weights, steps = 5, rate = 0.4) => {
  const of = (i, part) => pair(weights, `net.0.blocks.${i}.${part}`), four = [0, 1, 2, 3];
  const start = {
    convs: four.map((i) => ({ weight: of(i, 0).weight, out: of(i, 1).weight.length })),
    norms: four.map((i) => ({ gamma: of(i, 1).weight, beta: of(i, 1).bias })),
    head: pair(weights, "net.1"),
  };
  return (support) => {
    const batch = support.length, labels = support.map((_, k) => k), nets = [start];
    const x = Float32Array.from(support.flatMap((s) => [...s]));
    for (let k = 0; k < steps; k++) nets.push(descend(nets[k], x, labels, rate));
    return (query, step = null) => {
      const together = Float32Array.from([...x, ...query]);
      const after = (net) => {
        const { scores: all } = forward(net, together, batch + 1);
        return labels.map((k) => all[k * (batch + 1) + batch]);
      };
      return step === null ? nets.map(after) : after(nets[step]);
    };
  };
};

const methods = { prototypical, matching, siamese, relation, hypernetwork, in_context, maml, centroids, pixels };

// The method of that name, from names and shapes of its weights and the text of their numbers.
export const method = (name, index = [], text = "") => methods[name](unpacked(index, text));
