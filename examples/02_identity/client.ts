// The client of step 1, which now proves who it is, and says whom it means: nobody else's answer counts.
import { createClient, fetchTransport } from "@postern/rpc";
import { prove } from "@postern/rpc/auth";
import { createFetch } from "@postern/rpc/deno";
import { Greeter } from "../01_hello/greeter.ts";
import { join, trust } from "./authority.ts";

const identity = await join("spiffe://example.org/web");
const prover = prove({ identity, trust, peer: "spiffe://example.org/greeter" });

/** Greets once, and proves to be the web service. */
export async function greet(url: string, name: string, ca: string): Promise<string> {
  using fetch = createFetch({ caCerts: [ca] });
  const greeter = createClient(Greeter, fetchTransport(url, { prover, fetch }));
  return (await greeter.hello({ name })).text;
}
