FROM {base} AS build
{tools}
WORKDIR /w
COPY pom.xml .
RUN mvn -B dependency:go-offline
COPY src src
RUN mvn -B package && mkdir -p target/dependency && cp pom.xml target/dependency/
FROM {base}
ARG DEPENDENCY=/w/target/dependency
VOLUME /tmp
COPY --from=build ${DEPENDENCY} /app/lib
ENTRYPOINT ["java","-cp","app:app/lib/*","A"]
STOPSIGNAL SIGTERM
