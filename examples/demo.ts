// `deno task demo`: three services that know each other, seven attacks on them, instances that come and go, and
// messages over a hub that nobody has to trust. It checks itself: whatever does not go as it is told here ends it with an error.
import { anonymous, fetchTransport } from "@postern/rpc";
import { type Attack, refusals } from "./demo/attack.ts";
import { rogueServer, swappedResponse, tamperedBody } from "./demo/on_the_way.ts";
import { type Receipt, type Site, startSite } from "./demo/site.ts";
import { startMesh } from "./demo/mesh.ts";
import { startTopics } from "./demo/topics.ts";
import { expired, replay, stolenToken } from "./demo/stolen.ts";
import { widenedCapability } from "./demo/widened.ts";

const ATTACKS = [stolenToken, replay, tamperedBody, swappedResponse, widenedCapability, rogueServer, expired];

let step = 0;
const tell = (what: string) => console.log(`\n${++step}. ${what}`);
const show = (line: string) => console.log(`     ${line}`);

tell("A call over TLS: web → gateway → orders → payments, each with an identity and a policy of its own");
await using site = await startSite((line) => step === 1 && show(line));
showReceipt(await site.checkout(4_500));
show("Between orders and payments stands a proxy that ends TLS: it can read and change everything");
await expectRecorded(site, ["payments call.allow", "orders call.allow"]);

for (const attack of ATTACKS) await withstand(site, attack);

await using mesh = await startMesh(show);
tell("Three instances, found through a registry: one is killed, one is replaced, and calls never stop");
await mesh.roll();

tell("Rogue instance: a workload of the same domain registers for a service that it may not serve");
const { message } = await mesh.registerRogue();
show(`refused: ${message}`);

tell("Lying registry: it gives the rogue's record, and the honest one with the rogue's address in it");
const { calls, rogueCalls, reasons } = await mesh.lie();
show(`refused: ${reasons.join(", ")}`);
show(`honest: ${calls - rogueCalls} calls; rogue: ${rogueCalls}`);
expect("the records", reasons, ["not_serving", "bad_token_signature"]);
expect("the calls to the rogue", [String(rogueCalls)], ["0"]);

tell("Topics over a hub: an order is placed, two packers share the work, and a desk reads what the hub cannot");
await using topics = await startTopics(show);
await topics.tell();

tell("The hub is taken over: it is listened at, a message is forged, one is changed, one is copied");
await topics.withstand();

tell("What breaks the contract does not leave the client, and nothing does without TLS");
showRefused(await refusals(site.charge(-1)));
try {
  fetchTransport("http://localhost", { prover: anonymous() });
  throw new Error("This must not succeed");
} catch (error) {
  if (!(error instanceof TypeError)) throw error;
  show(`refused: ${error.message}`);
}

tell("The audit log of payments, which payments signed, and a copy with one bit changed");
const { sound, edited } = await site.audits.payments.verify("bad_digest");
show(sound);
show(edited);

tell("To call a server yourself, from another terminal");
show("npx -y deno@2.9.6 task hello:serve");
show(`curl --cacert ${site.caPath} --json '{"name":"Ada"}' https://localhost:8443/greeter.v1/hello\n`);

/** Shows an attack, what its victims or the attacker are told, what is recorded, and that the honest call works. */
async function withstand(site: Site, attack: Attack): Promise<void> {
  tell(attack.what);
  const told = await attack.attempt(site);
  showRefused(told);
  expect("the codes", told.map(({ code }) => code), told.map(() => attack.code));
  await expectRecorded(site, attack.recorded);
  const receipts = await attack.honest(site);
  receipts.forEach(showReceipt);
  await expectRecorded(site, receipts.map(() => "payments call.allow"));
}

function showReceipt({ receipt, cents }: Receipt): void {
  show(`honest: receipt ${receipt} for ${cents} cents`);
}

function showRefused(refused: Awaited<ReturnType<Attack["attempt"]>>): void {
  const lines = refused.map(({ code, message }) => `refused: ${code}: ${message}`);
  for (const line of new Set(lines)) show(line);
}

/** Shows the refusals that both sides of the proxy recorded since the last time; nothing else than expected may be there. */
async function expectRecorded({ audits }: Site, expected: readonly string[]): Promise<void> {
  const recorded: string[] = [];
  for (const service of ["payments", "orders"] as const) {
    for (const { index, event, reason, caller, method, fields } of await audits[service].fresh()) {
      recorded.push([service, event, reason].filter(Boolean).join(" "));
      const who = fields?.["peer"] ? `meant for ${fields["peer"]}` : `by ${caller ?? "nobody who proved it"}`;
      if (reason) show(`audit of ${service}: #${index} ${event} ${reason}, ${method} ${who}`);
    }
  }
  expect("the audits", recorded, expected);
}

function expect(what: string, actual: readonly string[], expected: readonly string[]): void {
  if (actual.join() !== expected.join()) throw new Error(`Expected of ${what}: ${expected}; but found: ${actual}`);
}
