// Uses the types that are made of the document of a site with the model `iris`. What is wrong does not compile, or throws.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./wharf.js";

const baseUrl = process.argv[2];
assert.ok(baseUrl, "give the server's URL");
// Inference answers binary data where it is asked for; this client asks for none.
const wharf = createClient<paths, "application/json" | "application/problem+json">({ baseUrl });

// A route of the site, by its own path: one flower, and two.
const flower = [5.1, 3.5, 1.4, 0.2];
for (const input of [flower, [flower, flower]]) {
  const { data, error } = await wharf.POST("/v1/infer/iris", { body: { input } });
  assert.ok(data, JSON.stringify(error));
  assert.equal(data.output.length, input === flower ? 3 : 2);
}

// Lists.
const models = await wharf.GET("/v1/models");
const iris: components["schemas"]["Model"] | undefined = models.data?.models.find((model) => model.name === "iris");
assert.deepEqual(iris?.inputs?.[0]?.shape, [-1, 4]);
const index = await wharf.POST("/v2/repository/index", { body: { ready: true } });
assert.ok(index.data?.some((entry) => entry.name === "iris" && entry.state === "READY"));

// Metadata, and inference by the Open Inference Protocol.
const named = { params: { path: { model: "iris" } } };
const metadata = await wharf.GET("/v2/models/{model}", named);
const input = metadata.data?.inputs[0];
assert.ok(input);
const answer = await wharf.POST("/v2/models/{model}/infer", {
  ...named,
  body: { inputs: [{ name: input.name, datatype: "FP32", shape: [1, 4], data: flower }] },
});
assert.ok(answer.data, JSON.stringify(answer.error));
assert.deepEqual(answer.data.outputs[0]?.shape, [1, 3]);

// Management: what was changed meanwhile is not overwritten.
const made = await wharf.POST("/v1/models", { body: { name: "flowers", modalities: ["tabular"], labels: { team: "botany" } } });
assert.equal(made.response.status, 201);
assert.equal(made.data?.state, "registered");
const flowers = { path: { model: "flowers" }, header: { "If-Match": made.response.headers.get("etag") ?? "" } };
const replaced = await wharf.PUT("/v1/models/{model}", { params: flowers, body: { description: "Kinds of irises." } });
assert.equal(replaced.data?.description, "Kinds of irises.");
const late = await wharf.PUT("/v1/models/{model}", { params: flowers, body: {} });
assert.equal(late.error?.status, 412);
const gone = await wharf.DELETE("/v1/models/{model}", { params: { path: flowers.path } });
assert.equal(gone.response.status, 204);

// Errors are problem documents.
const { error, response } = await wharf.GET("/v2/models/{model}", { params: { path: { model: "nobody" } } });
const problem: components["schemas"]["Problem"] | undefined = error;
assert.equal(response.status, 404);
assert.equal(problem?.field, "model");
assert.equal(problem?.request_id, response.headers.get("x-request-id"));

// What the document forbids does not compile.
// @ts-expect-error: texts are no numbers.
const wrong = await wharf.POST("/v1/infer/iris", { body: { input: ["a"] } });
assert.equal(wrong.response.status, 400);
// @ts-expect-error: there is no such path.
await wharf.GET("/v1/nothing");

console.log("the TypeScript client works");
