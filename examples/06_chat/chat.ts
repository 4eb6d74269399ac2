// `deno task chat`: three guests in terminals, through the same doors as a browser's page; `deno task chat:serve` is for those.
import { RpcError } from "@postern/rpc";
import { AuthError } from "@postern/rpc/auth";
import { createFetch, createWebSocket } from "@postern/rpc/deno";
import type { LogEntry } from "@postern/rpc/rpc";
import { devCa } from "../../tools/dev_ca.ts";
import type { Happening } from "./contracts.ts";
import { type Conversation, invite } from "./guest.ts";
import { startSite } from "./site.ts";

const late = setTimeout(() => {
  throw new Error("Somebody has not heard what was said");
}, 20_000);

const { ca, cert, key } = await devCa();
await using site = await startSite({ cert, key, port: 0, log: showRefusals });
using fetch = createFetch({ caCerts: [ca] });
const options = { fetch, open: createWebSocket({ caCerts: [ca] }) };
await using asAda = await invite(site.url, { room: "kitchen", name: "Ada" }, options);
await using asGrace = await invite(site.url, { room: "kitchen", name: "Grace" }, options);
await using asBob = await invite(site.url, { room: "kitchen", name: "Bob" }, options);

console.log("Ada and Grace meet in the kitchen");
const ada = ears("Ada", asAda.enter("kitchen"));
await ada.hears("Ada enters");
const grace = ears("Grace", asGrace.enter("kitchen"));
await grace.hears("Grace enters");
await ada.hears("Grace enters");
ada.says("The kettle is on");
await grace.hears("Ada: The kettle is on");
await ada.hears("Ada: The kettle is on");

console.log("\nAda tries the cellar, with her right to the kitchen");
console.log(`  Ada is told: ${await ears("Ada", asAda.enter("cellar")).hearsLast()}`);

console.log("\nBob enters and does not listen, while Ada says 200 lines");
const bob = ears("Bob", asBob.enter("kitchen"));
await bob.hears("Bob enters");
for (let line = 1; line <= 200; line++) {
  ada.says(`Line ${line}`);
  for (const each of [ada, grace]) await each.hearsUntil(`Ada: Line ${line}`);
}
console.log(`  Bob is told, when he listens again: ${await bob.hearsLast()}`);

console.log("\nGrace leaves");
grace.leaves();
await ada.hears("Grace leaves");
clearTimeout(late);

/** Why, which only the server knows. */
function showRefusals({ code, cause }: LogEntry): void {
  if (cause instanceof AuthError) console.log(`  at the server: ${code}, ${cause.reason}`);
}

/** Somebody in a room; what is heard there is shown, and has to be what was expected. */
function ears(name: string, { heard, say, leave }: Conversation) {
  const happenings = heard[Symbol.asyncIterator]();
  const next = async () => {
    const { value, done } = await happenings.next();
    return done ? undefined : inWords(value);
  };
  const show = (text: string | undefined) => console.log(`  ${name} hears: ${text}`);
  return {
    says: say,
    leaves: leave,
    async hears(expected: string) {
      const text = await next();
      show(text);
      if (text !== expected) throw new Error(`${name} was to hear: ${expected}`);
    },
    /** Shows only what comes in between. */
    async hearsUntil(expected: string) {
      for (let text = await next(); text !== expected; text = await next()) show(text);
    },
    /** How it ends. */
    async hearsLast() {
      try {
        while (await next());
        return "it ended";
      } catch (error) {
        if (error instanceof RpcError) return `${error.code}: ${error.message}`;
        throw error;
      }
    },
  };
}

function inWords({ from, did, text }: Happening): string {
  return did === "say" ? `${from}: ${text}` : `${from} ${did}s`;
}
