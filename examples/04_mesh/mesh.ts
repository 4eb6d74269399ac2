// `deno task mesh`: a service with three instances, found through a registry that is a service too.
import { createFetch } from "@postern/rpc/deno";
import { devCa } from "../../tools/dev_ca.ts";
import { startRegistry } from "./registry.ts";
import { tellStory } from "./story.ts";

const { ca, cert, key } = await devCa();
using fetch = createFetch({ caCerts: [ca] });
await using registry = await startRegistry({ cert, key, fetch });

await tellStory({ reach: registry.reach, cert, key, fetch, show: console.log });
