FROM {base} AS chef
{tools}
WORKDIR /app
FROM chef AS planner
COPY . .
RUN cargo chef prepare && echo recipe > recipe.json
FROM chef AS builder
COPY --from=planner /app/recipe.json recipe.json
RUN cargo chef cook --release
COPY . .
RUN cargo build --release && mkdir -p target && cp src/main.rs target/x
FROM {base} AS runtime
COPY --link --from=builder /app/target/x /usr/local/bin/
ENTRYPOINT ["/usr/local/bin/x"]
