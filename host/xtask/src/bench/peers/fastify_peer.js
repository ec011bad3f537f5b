// What a user of Node writes: Fastify, and ONNX Runtime on one thread.
'use strict'
const fastify = require('fastify')
const { InferenceSession, Tensor } = require('onnxruntime-node')

async function serve () {
  const session = await InferenceSession.create(process.env.MODEL, { intraOpNumThreads: 1 })
  const app = fastify()
  app.post('/v2/models/:name/infer', async (request) => {
    const feeds = {}
    for (const { name, data, shape } of request.body.inputs) {
      feeds[name] = new Tensor('float32', Float32Array.from(data), shape)
    }
    const { y } = await session.run(feeds)
    const output = { name: 'y', shape: y.dims, datatype: 'FP32', data: Array.from(y.data) }
    return { model_name: request.params.name, outputs: [output] }
  })
  await app.listen({ host: '127.0.0.1', port: Number(process.env.PORT) })
}

serve()
