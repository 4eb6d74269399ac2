// Meshes of many sizes on a virtual clock. A failure names its seed: `SIMULATION_SEED=7 deno test …` runs that one alone.
import { test } from "node:test";
import {
  churn,
  deploy,
  everything,
  expiring,
  following,
  type Partition,
  partition,
  rogue,
  skew,
  stumbling,
} from "./_scenarios.ts";

const replayed = Deno.env.get("SIMULATION_SEED");
const SEEDS = replayed === undefined ? [1, 2] : [Number(replayed)];
const SIZE = { instances: 40, clients: 8 };

const CUTS: readonly Partition[] = [
  { clients: "all", instances: "all", cut: "refused", lastsMs: 30_000 },
  { clients: "all", instances: "none", cut: "silent", lastsMs: 30_000 },
  { clients: "none", instances: "all", cut: "silent", lastsMs: 30_000 },
  { clients: "some", instances: "some", cut: "silent", lastsMs: 30_000 },
  { clients: "all", instances: "all", cut: "silent", lastsMs: 180_000 },
  { clients: "all", instances: "none", cut: "refused", lastsMs: 180_000 },
  { clients: "none", instances: "all", cut: "refused", lastsMs: 180_000 },
  { clients: "some", instances: "some", cut: "refused", lastsMs: 180_000 },
];

for (const seed of SEEDS) {
  test(`balancedTransport() calls nobody who is gone while instances come and go (seed ${seed})`, () =>
    churn(seed, SIZE));
  test(`balancedTransport() sees everybody by clocks that are each 5 s off at most (seed ${seed})`, () =>
    skew(seed, SIZE, 5_000));
  test(`announce() loses no call in a deploy one by one (seed ${seed})`, () =>
    deploy(seed, { instances: 6, clients: 30 }, 1, { paceMs: [5_000, 6_500] }));
  test(`announce() loses no call in a deploy of many at a time (seed ${seed})`, () => deploy(seed, SIZE, 10));
  test(`balancedTransport() makes no call twice that must be made once (seed ${seed})`, () =>
    stumbling(seed, { instances: 8, clients: 16 }));
  test(`balancedTransport() hedges by no record that has ended (seed ${seed})`, () =>
    expiring(seed, { instances: 40, clients: 16 }));
  test(`balancedTransport() calls no rogue (seed ${seed})`, () => rogue(seed, SIZE));
  test(`balancedTransport() follows a registry over its service (seed ${seed})`, () =>
    following(seed, { instances: 20, clients: 6 }));
}
CUTS.forEach((cut, i) => {
  const { clients, instances, lastsMs } = cut;
  const [seed] = replayed === undefined ? [i + 1] : SEEDS;
  const who = `${clients} clients and ${instances} instances, ${cut.cut}, for ${lastsMs / 1_000} s`;
  test(`balancedTransport() outlasts a cut of the registry from ${who} (seed ${seed})`, () =>
    partition(seed!, SIZE, cut));
});
test(`balancedTransport() keeps 100 clients from what they must not call among 1,000 instances (seed ${SEEDS[0]})`, () =>
  everything(SEEDS[0]!, { instances: 1_000, clients: 100 }));
