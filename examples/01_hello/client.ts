// The client: a plain object with the contract's methods.
import { anonymous, createClient, fetchTransport } from "@postern/rpc";
import { createFetch } from "@postern/rpc/deno";
import { Greeter } from "./greeter.ts";

/** Greets once, trusting the development authority beside the runtime's own. */
export async function greet(url: string, name: string, ca: string): Promise<string> {
  using fetch = createFetch({ caCerts: [ca] });
  const greeter = createClient(Greeter, fetchTransport(url, { prover: anonymous(), fetch }));
  return (await greeter.hello({ name })).text;
}
