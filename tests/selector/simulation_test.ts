// Small meshes on a virtual clock, on every runtime; the large ones are in simulation_deno_test.ts. A failure names its seed.
import { test } from "node:test";
import { churn, deploy, following, partition, rogue, skew } from "./_scenarios.ts";

const SEED = 1;
const SIZE = { instances: 8, clients: 4 };

test("balancedTransport() calls nobody who is gone while a few instances come and go", () => churn(SEED, SIZE));
test("balancedTransport() sees a few instances by clocks that differ by 5 s at most", () => skew(SEED, SIZE, 2_500));
test("announce() loses no call in a small deploy", () => deploy(SEED, SIZE, 2));
test("balancedTransport() calls no rogue among a few", () => rogue(SEED, { instances: 27, clients: 3 }));
test("balancedTransport() follows a few instances over the registry's service", () => following(SEED, SIZE));
test("balancedTransport() outlasts a cut of the registry for 3 minutes", () =>
  partition(SEED, SIZE, { clients: "all", instances: "all", cut: "refused", lastsMs: 180_000 }));
